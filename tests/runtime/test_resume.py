"""A result is taken for finished only if it is whole, and of this source, this engine and these options."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.batch import Batch
from defian_edge.runtime.files import write_whole
from defian_edge.runtime.images import read_image
from defian_edge.runtime.jobs import Job, plan_jobs
from defian_edge.runtime.resume import RECORDS, Fingerprint, Resume
from defian_edge.runtime.temporary import PREFIX, unfinished_file
from tests.conftest import REPOSITORY, noise
from tests.doubles.enlarger import Enlarger

SETTINGS = {"engine": "e" * 64, "tile": "auto", "overlap": 16}


def photo(path: Path, seed: int = 0) -> Path:
    """Noise as BMP, so that all photos of one size have one number of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(6, 8, 3, seed=seed)).save(path, "BMP")
    return path


def do(source: Path, out: Path, **settings: object) -> int:
    """Upscale into ``out``; how many results were taken for finished."""
    jobs = plan_jobs([source], out)
    tally = Batch(Enlarger(), Resume(out, SETTINGS | settings), out).run(jobs)
    assert tally.failures == []
    return tally.skipped


def is_of(result: Path, source: Path) -> bool:
    return np.array_equal(read_image(result), read_image(source).repeat(2, axis=0).repeat(2, axis=1))


def test_a_second_run_finds_its_results_even_if_only_the_times_of_the_sources_changed(tmp_path):
    source, out = photo(tmp_path / "in" / "a.bmp"), tmp_path / "out"
    assert do(source, out) == 0
    assert do(source, out) == 1
    os.utime(source)
    assert do(source, out) == 1
    moved = tmp_path / "elsewhere" / "a.bmp"
    moved.parent.mkdir()
    source.rename(moved)
    assert do(moved, out) == 1, "the bytes are the same, so the result is"


@pytest.mark.parametrize("case", ["A", "B"])
def test_another_folders_picture_of_the_same_name_is_made(tmp_path, case):
    out = tmp_path / "out"
    first, second = photo(tmp_path / "A" / "0001.png", 1), photo(tmp_path / "B" / "0001.png", 2)
    if case == "B":
        os.utime(second, ns=(0, first.stat().st_mtime_ns))
    assert do(first, out) == 0
    assert do(second, out) == 0
    assert is_of(out / "0001.png", second)


def test_a_picture_of_another_suffix_is_made(tmp_path):
    out = tmp_path / "out"
    first, second = photo(tmp_path / "x.png", 1), photo(tmp_path / "x.bmp", 2)
    assert do(first, out) == do(second, out) == 0
    assert is_of(out / "x.png", second)


@pytest.mark.parametrize("shift", [-(10**12), 0, 10**9], ids=["older", "same time", "newer"])
def test_a_source_replaced_by_another_of_the_same_size_is_done_again(tmp_path, shift):
    source, out = photo(tmp_path / "a.bmp", 1), tmp_path / "out"
    assert do(source, out) == 0
    before = source.stat()
    photo(source, 2)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + shift))
    assert source.stat().st_size == before.st_size
    assert do(source, out) == 0
    assert is_of(out / "a.png", source)


@pytest.mark.parametrize("damage", [lambda _: b"", lambda b: b[:4], lambda b: b[:-1], lambda b: b[:-1] + b"x"])
def test_a_result_that_is_not_whole_is_made_again(tmp_path, damage):
    source, out = photo(tmp_path / "a.bmp"), tmp_path / "out"
    assert do(source, out) == 0
    result = out / "a.png"
    content, times = result.read_bytes(), result.stat()
    result.write_bytes(damage(content))
    os.utime(result, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert do(source, out) == 0
    assert is_of(result, source)


@pytest.mark.parametrize("change", [{"engine": "f" * 64}, {"tile": "64x64"}, {"overlap": 8}, {"provider": "cuda"}])
def test_another_engine_or_option_makes_another_result(tmp_path, change):
    source, out = photo(tmp_path / "a.bmp"), tmp_path / "out"
    assert do(source, out) == 0
    assert do(source, out, **change) == 0
    assert do(source, out, **change) == 1
    assert do(source, out) == 0


def test_of_two_engines_at_once_the_record_that_comes_last_does_not_vouch_for_the_others_result(tmp_path):
    source, out = photo(tmp_path / "a.bmp"), tmp_path / "out"
    job = Job(source, out / "a.png")
    mine, others = Resume(out, SETTINGS), Resume(out, SETTINGS | {"engine": "f" * 64})
    seen = Fingerprint.of(source)
    written = write_whole(job.target, b"mine..")
    others.finish(job, seen, write_whole(job.target, b"others"))
    mine.finish(job, seen, written)
    assert not mine.is_finished(job)
    assert not others.is_finished(job)


def test_a_source_that_changes_while_it_is_upscaled_is_done_again(tmp_path):
    source, out = photo(tmp_path / "a.bmp", 1), tmp_path / "out"
    job, resume = Job(source, out / "a.png"), Resume(out, SETTINGS)
    seen = Fingerprint.of(source)
    photo(source, 2)
    resume.finish(job, seen, write_whole(job.target, b"of the old one"))
    assert not resume.is_finished(job)


@pytest.mark.parametrize(
    "change",
    [
        lambda _: b"",
        lambda _: b"\xff\xfe",
        lambda _: b"[]",
        lambda _: b"null",
        lambda r: json.dumps(r | {"schema": 1}).encode(),
        lambda r: json.dumps(r | {"source": {}}).encode(),
        lambda r: json.dumps(r | {"result": 7}).encode(),
        lambda r: json.dumps(r)[:-9].encode(),
        lambda _: b"[" * 100_000,
    ],
)
def test_a_record_that_is_damaged_or_foreign_vouches_for_nothing(tmp_path, change):
    source, out = photo(tmp_path / "a.bmp"), tmp_path / "out"
    assert do(source, out) == 0
    [record] = (out / RECORDS).iterdir()
    record.write_bytes(change(json.loads(record.read_text())))
    assert do(source, out) == 0
    assert do(source, out) == 1


def test_bytes_are_on_the_disk_before_their_name_is(tmp_path, monkeypatch):
    order: list[str] = []
    plain, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), plain(handle)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (order.append(f"rename {to.suffix}"), rename(path, to)))
    assert do(photo(tmp_path / "a.bmp"), tmp_path / "out") == 0
    assert order == ["sync", "rename .png", "sync", "sync", "rename .json", "sync"]


def test_what_was_written_is_told_even_if_another_run_has_replaced_it(tmp_path):
    written = write_whole(tmp_path / "a", b"abc")
    (tmp_path / "a").write_bytes(b"later")
    assert asdict(written)["size"] == 3


CHILD = """
import sys, time
from pathlib import Path
from defian_edge.runtime.temporary import unfinished_file
with unfinished_file(Path(sys.argv[1])) as path:
    path.write_bytes(b"half")
    print(path, flush=True)
    time.sleep(600)
"""


def test_what_a_killed_run_left_is_removed_by_the_next_and_what_a_living_one_writes_is_not(tmp_path):
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "film.mp4")],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
        )
        for _ in range(2)
    ]
    try:
        paths = [Path(child.stdout.readline().strip()) for child in children if child.stdout]
        children[0].send_signal(signal.SIGKILL)
        children[0].wait()
        assert all(path.is_file() for path in paths)
        write_whole(tmp_path / "a.png", b"x")
        assert [path.is_file() for path in paths] == [False, True]
    finally:
        for child in children:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()


def test_a_result_may_have_the_longest_name_there_is_and_nothing_is_left_of_a_failure(tmp_path):
    name = "p" * 251 + ".png"
    write_whole(tmp_path / name, b"x")
    assert (tmp_path / name).read_bytes() == b"x"

    def fail() -> None:
        with unfinished_file(tmp_path / "b.png") as path:
            assert path.name.startswith(PREFIX)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == [name]
