"""Films on a real Ray cluster on this machine: done in parts, joined, and gone on with."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.runtime.cluster import films
from defian_edge.runtime.cluster import run as cluster_run
from defian_edge.runtime.cluster.options import Cluster
from defian_edge.runtime.cluster.run import run_on_ray
from defian_edge.runtime.jobs import plan
from defian_edge.runtime.resume import RECORDS
from defian_edge.runtime.video import upscale_video
from defian_edge.runtime.video_encoder import Encoding
from defian_edge.runtime.video_parts import Part, UncutError, parts_of
from tests.doubles.ray_runs import on_ray, slow, start_and_kill

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("av", reason="PyAV is not installed")


def test_a_film_is_done_in_parts_and_resumed_by_a_single_run(cluster, shared_graph, tmp_path, monkeypatch, capsys):
    from tests.doubles.enlarger import Enlarger
    from tests.runtime.test_video_parts import read_film, write_film

    (tmp_path / "films").mkdir()
    source = write_film(tmp_path / "films" / "film.mkv")
    write_film(tmp_path / "films" / "old.mkv", frames=3)

    def cut(path: Path) -> tuple[Part, ...]:
        if path.stem == "old":
            raise UncutError("it has no times")
        return parts_of(path, 10)

    monkeypatch.setattr(films, "parts_of", cut)
    work = replace(slow(shared_graph, tmp_path, seconds=0.01), encoding=Encoding("ffv1"))
    tally = on_ray(work, source.parent, cluster.address, 2)
    said = capsys.readouterr()
    assert (tally.done, tally.skipped, tally.failures, tally.frames) == (2, 0, [], 0)
    assert f"{source} -> {work.out / 'film.mkv'} (40 frames in 3 parts, joined in " in said.out
    assert said.err == f"note {source.parent / 'old.mkv'}: it is done in one piece (it has no times)\n"
    upscale_video(Enlarger(), source, tmp_path / "whole.mkv", lambda: None, work.encoding)
    found, expected = (read_film(path) for path in (work.out / "film.mkv", tmp_path / "whole.mkv"))
    assert all(np.array_equal(a, b) for a, b in zip(found[0], expected[0], strict=True))
    assert found[1:] == expected[1:]
    assert [path.name for path in (work.out / RECORDS).iterdir() if path.is_dir()] == [], "parts are gone"
    assert len(list((work.out / RECORDS).iterdir())) == 2
    jobs = plan([source.parent], work.out, work.encoding).jobs
    again = work.batch(Enlarger()).run(jobs)
    assert (again.done, again.skipped) == (0, 2)


def test_parts_of_a_film_that_are_done_when_the_program_is_killed_are_not_done_again(
    cluster, shared_graph, tmp_path, monkeypatch
):
    from tests.runtime.test_video_parts import FRAMES, read_film, write_film

    (tmp_path / "films").mkdir()
    source = write_film(tmp_path / "films" / "film.mkv")
    work = replace(slow(shared_graph, tmp_path, seconds=0.1), encoding=Encoding("ffv1"))
    records = work.out / RECORDS
    start_and_kill(work, source.parent, cluster.address, lambda: any(records.glob("*.json")))
    done = {said["name"] for said in (json.loads(path.read_bytes()) for path in records.glob("*.json"))}
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in work.out.rglob("*.part")}
    before = {path: found for path, found in before.items() if any(name.endswith(path.name) for name in done)}
    assert before, "no part was done"
    during: list[dict[Path, tuple[int, int]]] = []
    monkeypatch.setattr(films, "parts_of", lambda path: parts_of(path, 10))
    real = cluster_run._Run._take

    def look(*given: Any) -> None:  # noqa: ANN401
        during.append({path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before if path.exists()})
        real(*given)

    monkeypatch.setattr(cluster_run._Run, "_take", look)
    jobs = plan([source.parent], work.out, work.encoding).jobs
    tally = run_on_ray(work, jobs, Cluster(cluster.address, 2, 0), [source.parent], alone=False)
    assert (tally.done, tally.failures) == (1, [])
    assert all(seen == before for seen in during[:-1]), "a part that was done is as it was"
    assert len(during) == 4, "three parts, and the film"
    assert during[-1] == {}, "parts are gone"
    assert len(read_film(work.out / "film.mkv")[0]) == FRAMES
