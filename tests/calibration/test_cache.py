from __future__ import annotations

import numpy as np
import pytest

from defian_edge.calibration.photos import calibration_set
from defian_edge.calibration.ranges import cache
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.rewrites import apply_rewrites
from tests.conftest import random_checkpoint, tiny


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def rewritten(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    return model


def test_a_second_calibration_says_that_it_hit_the_cache_and_gives_the_same_graph(rewritten):
    said = []
    patches = calibration_set(None, 2, patches=3)
    first, second = (calibrate(rewritten, patches, Recipe(), said.append) for _ in range(2))
    assert ["miss" in said[0], "hit" in said[1]] == [True, True]
    assert (first.record["cache"], second.record["cache"]) == ("miss", "hit")
    assert first.plan.limits == second.plan.limits
    assert first.variant().serialise() == second.variant().serialise()


def test_other_photos_graphs_and_helpers_never_find_it(rewritten, traced):
    patches = calibration_set(None, 2, patches=3)
    calibrate(rewritten, patches, Recipe())
    other = traced(random_checkpoint(tiny(), seed=1))
    apply_rewrites(other)
    for model, photos, recipe in (
        (other, patches, Recipe()),
        (rewritten, calibration_set(None, 2, patches=2), Recipe()),
        (rewritten, patches, Recipe(side=False)),
    ):
        assert calibrate(model, photos, recipe).record["cache"] == "miss"


def test_a_change_of_the_measuring_code_changes_the_key(tmp_path):
    source = tmp_path / "code.py"
    source.write_text("a = 1")
    before = cache.cache_key([source], graph="g")
    source.write_text("a = 2")
    assert cache.cache_key([source], graph="g") != before


def test_a_damaged_file_is_measured_again_and_a_folder_that_cannot_be_written_costs_time_only(tmp_path, monkeypatch):
    cache.store("key", {"a": np.arange(3)})
    stored = cache.load("key")
    assert stored is not None
    assert np.array_equal(stored["a"], np.arange(3))
    path = cache.cache_path("key")
    assert path is not None
    whole = path.read_bytes()
    flipped = whole[:60] + bytes(255 - byte for byte in whole[60:90]) + whole[90:]
    for damaged in (b"half a fi", whole[: len(whole) // 2], whole[:-1], flipped):
        path.write_bytes(damaged)
        assert cache.load("key") is None
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "file"))
    cache.store("key", {"a": np.arange(3)})
    assert cache.load("key") is None
