from __future__ import annotations

import numpy as np
import pytest

from defian_edge.calibration.photos import calibration_set
from defian_edge.calibration.ranges import cache
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.groups import named
from defian_edge.export.precision.int8.measure import doubt_about, measured
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope, find_sites
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.runtime.cache import CacheWarning
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


def spoiled(arrays: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    """Whole arrays with the right digest, as no measurement of this graph gives them."""
    counts, extent = (next(name for name in arrays if name.startswith(kind)) for kind in ("counts/", "range/"))
    first = next(iter(arrays))
    return {
        "too few": {name: array for name, array in arrays.items() if name != first},
        "no moment": {name: array for name, array in arrays.items() if name != "moment"},
        "no range": {name: array for name, array in arrays.items() if name != extent},
        "too many": {**arrays, "maxima/other": np.ones(3)},
        "none": {},
        "another shape": {**arrays, first: arrays[first][:-1]},
        "text": {**arrays, first: arrays[first].astype("U8")},
        "negative counts": {**arrays, counts: -1 - arrays[counts]},
        "counts in parts": {**arrays, counts: arrays[counts] / 2},
        "negative": {**arrays, extent: -1 - arrays[extent]},
        "far": {**arrays, extent: arrays[extent] + 1e30},
    }[how]


@pytest.fixture(scope="module")
def measurement(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    model = named(model)
    sites = find_sites(model, Scope.FEATURES)
    return model, sites, dict(measured(model, calibration_set(None, 2, patches=1), Recipe(), sites))


@pytest.mark.parametrize(
    "how",
    [
        *("too few", "no moment", "no range", "too many", "none", "another shape", "text"),
        *("negative counts", "counts in parts", "negative", "far"),
    ],
)
def test_arrays_that_are_not_this_graphs_are_doubted(measurement, how):
    model, sites, arrays = measurement
    assert doubt_about(arrays, model, Recipe(), sites) == ""
    assert doubt_about(spoiled(arrays, how), model, Recipe(), sites).startswith("it holds ")


def test_what_is_doubted_is_measured_anew_and_that_is_said(rewritten, monkeypatch):
    few = calibration_set(None, 2, patches=1)
    first = calibrate(rewritten, few, Recipe())
    load = cache.load
    monkeypatch.setattr(cache, "load", lambda key: spoiled(load(key) or {}, "no moment"))
    with pytest.warns(CacheWarning, match="is not used, but made anew: it holds other arrays than this graph has"):
        again = calibrate(rewritten, few, Recipe())
    assert (again.record["cache"], again.plan.limits) == ("miss", first.plan.limits)
