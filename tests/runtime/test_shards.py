"""Machines that divide a folder among themselves make together what one would make alone."""

from __future__ import annotations

import re
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from defian_edge.runtime.batch import Batch
from defian_edge.runtime.command import main
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.jobs import plan
from defian_edge.runtime.resume import RECORDS, Resume
from defian_edge.runtime.shards import Shard
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger

NAMES = (
    *("a.png", "b.jpg", "B.png", "cat.jpg", "cat.png", "cat.webp", "cow.jpg.png", "deep/er/a.png", "deep/ö.png"),
    *("frame.0001.png", "frame.0002.png", "frame.0003.png", "frame.0004.png", "no suffix.png", ".hidden.png"),
)


@pytest.fixture
def folder(tmp_path) -> Path:
    for seed, name in enumerate(NAMES):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".jpg": "JPEG", ".webp": "WEBP"}.get(path.suffix, "PNG")
        Image.fromarray(noise(5, 6, 3, seed=seed)).save(path, kind)
    return tmp_path / "in"


def upscale(folder: Path, out: Path, shard: str | None = None) -> tuple[int, int]:
    """How many files were done and how many were finished already."""
    made = plan([folder], out, shard=None if shard is None else Shard.parse(shard))
    tally = Batch(Enlarger(), Resume(out, {}), out).run(made.jobs)
    assert tally.failures == []
    return tally.done, tally.skipped


def results(out: Path) -> dict[str, bytes]:
    files = (path for path in out.rglob("*") if path.is_file() and RECORDS not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_the_union_of_all_shards_is_the_whole_run_byte_by_byte(folder, tmp_path, count):
    upscale(folder, tmp_path / "whole")
    done = [upscale(folder, tmp_path / "shards", f"{index}/{count}")[0] for index in range(count)]
    assert sum(done) == len(NAMES), "each file is done once"
    assert results(tmp_path / "shards") == results(tmp_path / "whole")


def test_the_number_of_shards_may_change_and_nothing_is_done_twice(folder, tmp_path):
    out = tmp_path / "out"
    first = sum(upscale(folder, out, f"{index}/3")[0] for index in (0, 2))
    again = [upscale(folder, out, f"{index}/5") for index in range(5)]
    assert 0 < first < len(NAMES)
    assert sum(skipped for _, skipped in again) == first
    assert sum(done for done, _ in again) == len(NAMES) - first
    assert upscale(folder, out) == (0, len(NAMES))


def test_a_shard_is_the_same_wherever_the_files_are_mounted(folder, tmp_path):
    elsewhere = tmp_path / "mnt" / "other"
    elsewhere.parent.mkdir()
    folder.rename(elsewhere)
    (folder.parent / "in").symlink_to(elsewhere)
    shares = [
        [job.target.relative_to(out).as_posix() for job in plan([source], out, shard=Shard(1, 3)).jobs]
        for source, out in ((elsewhere, tmp_path / "x"), (folder, Path("relative")))
    ]
    assert shares[0] == shares[1]
    assert shares[0]


def test_results_of_one_name_are_refused_though_there_are_shards(tmp_path):
    for name in ("cat.jpg", "cat.png", "cat.jpg.png"):
        (tmp_path / name).touch()
    refused = 0
    for index in range(5):
        try:
            assert plan([tmp_path], tmp_path / "sr", shard=Shard(index, 5)).jobs == []
        except DefianError as error:
            refused += "would both become" in str(error)
    assert refused == 1


@given(st.lists(st.text(alphabet="abc.0é", min_size=1), unique=True), st.integers(1, 12))
def test_every_path_is_in_one_shard(names, count):
    for name in names:
        owners = [index for index in range(count) if Shard(index, count).owns(Path("folder", name, "x.png"))]
        assert len(owners) == 1


def test_shares_are_about_equal():
    sizes = np.bincount([next(i for i in range(8) if Shard(i, 8).owns(Path(f"{n:05}.jpg"))) for n in range(4000)])
    assert sizes.min() > 400
    assert sizes.max() < 600


def test_files_of_other_shards_are_never_opened(folder, tmp_path, monkeypatch):
    opened: set[Path] = set()
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *given: opened.add(self) or real(self, *given))
    made = plan([folder], tmp_path / "out", shard=Shard(0, 4))
    assert opened <= {job.source for job in made.jobs}
    assert made.elsewhere == len(NAMES) - len(made.jobs) > 0


def test_ten_thousand_files_are_listed(tmp_path):
    """The time is printed for the reader of `-s`; no limit on it is asserted."""
    for number in range(10_000):
        (tmp_path / f"{number:05}.jpg").touch()
    start, work = time.monotonic(), time.process_time()
    made = plan([tmp_path], tmp_path / "sr", shard=Shard(3, 16))
    print(f"10 000 files: {time.monotonic() - start:.2f} s, {time.process_time() - work:.2f} s of the processor")
    assert len(made.jobs) + made.elsewhere == 10_000


def test_of_a_file_little_more_than_its_name_is_held(tmp_path):
    count = 2000
    for number in range(count):
        (tmp_path / f"{number:05}.jpg").touch()
    tracemalloc.start()
    made = plan([tmp_path], tmp_path / "sr")
    each = tracemalloc.get_traced_memory()[1] / count
    tracemalloc.stop()
    print(f"{each / 1000:.1f} kB a file at most while they are listed")
    assert len(made.jobs) == count
    assert each < 4000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected i/n"),
        ("1", "expected i/n"),
        ("-1/4", "expected i/n"),
        ("1/4/2", "expected i/n"),
        ("٣/٤", "expected i/n"),
        ("99999999/99999999", "expected i/n"),
        ("4/4", "from 0 to 3"),
        ("0/0", "of 1 to 1000000 shards"),
        ("0/2000000", "of 1 to 1000000 shards"),
    ],
)
def test_what_is_no_shard_is_refused(text, message):
    with pytest.raises(DefianError, match=message):
        Shard.parse(text)


def test_the_command_does_its_shard_and_an_empty_one_is_no_failure(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("defian_edge.runtime.opening.open_session", lambda *_, **__: Enlarger())

    def run(shard: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(folder), "--engine", "x.onnx", "--out", str(tmp_path / "sr"), "--shard", shard])
        return int(ended.value.code or 0), capsys.readouterr().out.partition("\n")[0]

    ended = [run(f"{index}/40") for index in range(40)]
    assert {status for status, _ in ended} == {0}
    words = rf"shard [0-9]+/40: ([0-9]+) of {len(NAMES)} files"
    told = [int(re.sub(words, r"\1", said)) for _, said in ended]
    assert sum(told) == len(NAMES)
    assert 0 in told
    assert len(results(tmp_path / "sr")) == len(NAMES)
    assert run("40/40") == (2, "")
