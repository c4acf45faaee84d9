"""Tiles: every pixel is covered once in all, none is padded, and blending tiles of the truth gives the truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from defian_edge.runtime import memory
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.tiles import TiledSession, weights
from defian_edge.runtime.tiling import Tiling, starts, tiles_that_fit
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger

SIZES = st.integers(4, 40).flatmap(lambda tile: st.tuples(st.just(tile), st.integers(0, tile // 2), st.integers(2, 99)))


@given(SIZES)
def test_tiles_cover_every_pixel_without_padding_and_share_what_they_should(sizes):
    tile, overlap, length = sizes
    begin = starts(length, tile, overlap)
    size = min(tile, length)
    assert begin[0] == 0
    assert begin[-1] + size == length
    assert all(0 < after - before <= tile - overlap for before, after in itertools.pairwise(begin))


@given(SIZES, st.sampled_from([2, 3, 4]))
def test_the_shares_of_each_output_pixel_add_up_to_one(sizes, scale):
    tile, overlap, length = sizes
    total = np.zeros(scale * length)
    for start, share in zip(starts(length, tile, overlap), weights(length, tile, overlap, scale), strict=True):
        assert share.min() >= 0
        total[scale * start : scale * start + share.size] += share
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_the_pixels_next_to_an_inner_edge_count_for_nothing():
    first, middle, last = weights(64, 32, 16, 2)
    assert not first[-8:].any()
    assert not middle[:8].any()
    assert not last[:8].any()
    assert first[0] == last[-1] == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 60), st.integers(2, 60), st.sampled_from([(8, 8, 0), (8, 12, 4), (16, 9, 3)]))
def test_an_operation_without_memory_is_the_same_in_tiles(height, width, tiling):
    images = noise(2, height, width, 3, seed=height * width)
    with TiledSession(Enlarger(), Tiling(*tiling)) as session:
        assert np.array_equal(session(images), Enlarger()(images))


def test_only_images_that_do_not_fit_are_cut_unless_asked_for():
    inner = Enlarger(profile="1x4x4,1x16x16,1x16x16")
    with TiledSession(inner, tiles_that_fit(inner.profile, 4), always=False) as session:
        session(noise(1, 16, 16, 3))
        assert inner.seen == [(1, 16, 16, 3)]
        session(noise(1, 20, 16, 3))
        assert inner.seen[1:] == [(1, 16, 16, 3)] * 2
        assert session.profile is None
        assert "16x16, overlap 4" in session.describe()
    assert inner.closed


def test_the_number_of_tiles_is_known_beforehand():
    inner = Enlarger()
    session = TiledSession(inner, Tiling(16, 16, 4))
    session(noise(1, 40, 30, 3))
    assert len(inner.seen) == Tiling(16, 16, 4).count(40, 30) == 3 * 3


@pytest.mark.parametrize("sizes", [(8, 8, 5), (1, 8, 0), (8, 8, -1)])
def test_tiles_that_cannot_be_blended_are_refused(sizes):
    with pytest.raises(DefianError, match="half a tile"):
        Tiling(*sizes)


def test_tiles_for_an_engine_are_its_largest_shape():
    assert tiles_that_fit(ShapeProfile.parse("1x64x64,1x360x640,1x540x960")) == Tiling(540, 960, 16)
    assert tiles_that_fit(ShapeProfile.parse("1x16x16")) == Tiling(16, 16, 8)
    assert tiles_that_fit(None).height == Tiling().height


def test_what_would_not_fit_into_memory_is_cut_and_what_fits_is_not():
    asked: list[int] = []

    def fits(pixels: int) -> bool:
        asked.append(pixels)
        return pixels <= 1000

    inside = Enlarger()
    session = TiledSession(inside, Tiling(20, 20, 4), always=False, fits=fits)
    small, large, tile = noise(1, 25, 40, 3), noise(1, 25, 41, 3), noise(1, 20, 20, 3)
    assert np.array_equal(session(small), Enlarger()(small))
    assert np.array_equal(session(large), Enlarger()(large))
    assert inside.seen[0] == (1, 25, 40, 3)
    assert set(inside.seen[1:]) == {(1, 20, 20, 3)}
    assert asked == [1000, 1025]
    session(tile)
    assert asked == [1000, 1025], "a tile is the least that can be done, and is tried"


def test_a_graph_on_a_cpu_may_take_half_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 2200 * 1000)
    assert memory.fits(1000)
    assert not memory.fits(1001)
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    assert memory.fits(10**12)


def test_free_memory_is_that_of_the_container_if_that_is_less(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "cgroup")
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert memory.free_bytes() == 5000 * 1024
    for name, text in {"max": "4096000\n", "current": "3000000", "stat": "anon 1\ninactive_file 1000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text)
    assert memory.free_bytes() == 4096000 - 3000000 + 1000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes() == 5000 * 1024
    (tmp_path / "meminfo").write_text("nothing")
    assert (memory.free_bytes() or 0) > 0


@pytest.mark.parametrize(
    ("membership", "folder", "names"),
    [
        ("0::/slurm/job_7/step\n", "slurm/job_7", ("memory.max", "memory.current", "inactive_file")),
        ("0::/a/b:c\n", "a/b:c", ("memory.max", "memory.current", "inactive_file")),
        (
            "9:cpu,cpuacct:/x\n4:memory:/job/step\n0::/\n",
            "memory/job",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
        (
            "4:memory:/of/the/host\n",
            "memory",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_free_memory_is_that_of_a_job_of_a_cluster(monkeypatch, tmp_path, membership, folder, names):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path / "groups")
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "cgroup")
    (tmp_path / "meminfo").write_text("MemAvailable:    5000 kB\n")
    (tmp_path / "cgroup").write_text(membership)
    place = tmp_path / "groups" / folder
    place.mkdir(parents=True)
    for name, text in zip((*names[:2], "memory.stat"), ("4096000", "3000000", f"{names[2]} 1000"), strict=True):
        (place / name).write_text(text)
    assert memory.free_bytes() == 4096000 - 3000000 + 1000
    (place / names[0]).write_text("max" if "max" in names[0] else str(2**63 - 4096))
    assert memory.free_bytes() == 5000 * 1024
