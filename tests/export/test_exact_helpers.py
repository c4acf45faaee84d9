"""Equalising, side channels and the change of basis leave the FP32 function as it was, border included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.calibration.photos import calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.observers import ChannelMaxima, observe
from defian_edge.export.graph import array_of, copy_of
from defian_edge.export.precision.int8.channel_scaling import scalable, scale_channels
from defian_edge.export.precision.int8.measure import equalise, measured
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope, find_sites, origin_of
from defian_edge.export.precision.int8.upscale_basis import LinearSum, best_basis, side_channels
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.trace.network import Io
from defian_edge.models.defian import Architecture
from tests.conftest import noise, random_checkpoint, tiny

NONE = Recipe(equalise=False, channels=False, side=False, basis=False)
RECIPES = {
    "channels": replace(NONE, scope=Scope.FEATURES, channels=True),
    "equalise": replace(NONE, equalise=True),
    "side": replace(NONE, side=True),
    "basis": replace(NONE, basis=True),
    "all": Recipe(scope=Scope.FEATURES),
}


def outputs(model, image):
    """The values before clamping and rounding, which hide errors."""
    copy = copy_of(model)
    clip = [node for node in copy.graph if node.op_type == "Clip"][-1]
    assert clip.inputs[0] is not None
    copy.graph.outputs.append(clip.inputs[0])
    return np.asarray(session_of(copy).run(None, {"image": image})[1])


def assert_equal(before, after):
    assert np.abs(before - after).max() <= 2e-5 * max(1.0, np.abs(before).max())


def weights_of(model):
    return [np.asarray(array_of(node.inputs[1])) for node in model.graph if node.op_type == "Conv"]


@pytest.fixture(scope="module", params=[tiny(2), tiny(3), tiny(4), Architecture(48, 1, 1, 2)], ids=str)
def rewritten(request, traced):
    model = traced(random_checkpoint(request.param))
    apply_rewrites(model)
    return request.param, model


@pytest.mark.parametrize("name", RECIPES)
def test_helpers_change_the_weights_and_not_the_function(rewritten, name):
    architecture, model = rewritten
    sites = find_sites(model, Scope.FEATURES)
    arrays = dict(measured(model, calibration_set(None, architecture.scale, patches=6), RECIPES[name], sites))
    helped = copy_of(model)
    assert equalise(helped, arrays, RECIPES[name], sites) == find_sites(helped, RECIPES[name].scope)
    photo = evaluation_pairs(architecture.scale)[1].lr[:40, :56]
    for image in (noise(1, 17, 23, 3), noise(2, 24, 20, 3), noise(1, 2, 2, 3), noise(1, 1, 7, 3), photo[None]):
        assert_equal(outputs(model, image), outputs(helped, image))
    weights, originals = weights_of(helped), weights_of(model)
    assert len(weights) != len(originals) or any(
        not np.array_equal(a, b) for a, b in zip(weights, originals, strict=True)
    )


def test_scaled_maps_have_one_range_and_the_same_sites(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    patches = calibration_set(None, 2, patches=6)
    recipe = RECIPES["channels"]
    helped = copy_of(model)
    before = find_sites(model, Scope.FEATURES)
    after = equalise(helped, dict(measured(model, patches, recipe, before)), recipe, before)
    assert [site.tensor for site in before.features] == [origin_of(site.tensor) for site in after.features]
    assert [site.node for site in before.convolutions] == [site.node for site in after.convolutions]
    names = scalable(model, before)
    assert len(names) >= 2 * 3  # each block's input, result and sum
    scaled = {origin_of(site.tensor): site.tensor for site in after.features}
    maxima = {name: ChannelMaxima(channels) for name, channels in names.items()}
    watched: list[tuple[list[str], Any]] = [([scaled[name]], seen) for name, seen in maxima.items()]
    observe(helped, watched, patches)
    for name, observer in maxima.items():
        assert observer.maxima.min() == pytest.approx(observer.maxima.max(), rel=1e-3), name


def test_a_channel_that_is_always_zero_stays_finite(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    helped = copy_of(model)
    sites = find_sites(model, Scope.FEATURES)
    limits = {name: np.asarray(np.eye(1, channels)[0]) for name, channels in scalable(model, sites).items()}
    always_zero = next(iter(limits))
    limits[always_zero] = np.zeros_like(limits[always_zero])
    scale_channels(helped, limits, sites)
    image = noise(1, 17, 23, 3)
    assert_equal(outputs(model, image), outputs(helped, image))


def test_a_graph_with_anything_nonlinear_next_to_the_sum_is_left_alone(traced):
    plain = traced(random_checkpoint(tiny()))
    assert not LinearSum(plain).found  # the input convolution has other readers before recompute-shallow


def test_float_graphs_have_the_sum_too(traced):
    model = traced(random_checkpoint(tiny()), Io.FLOAT)
    apply_rewrites(model)
    assert LinearSum(model).found


def noise_gain(moment, gram, basis):
    """What the basis minimises, for one step that the strongest channel demands."""
    inverse = np.linalg.inv(basis)
    return np.max(np.diag(basis @ moment @ basis.T)) * np.trace(inverse.T @ gram @ inverse)


@pytest.mark.parametrize("size", [8, 12])
def test_the_basis_lowers_the_noise_below_any_scaling_and_to_the_theoretical_least(size):
    random = np.random.default_rng(0)
    moment, gram = (a @ a.T for a in random.normal(size=(2, size, size)) * np.geomspace(1, 30, size))
    basis = best_basis(moment, gram)
    scaling = np.diag(1.0 / np.sqrt(np.diag(moment)))
    assert noise_gain(moment, gram, basis) < noise_gain(moment, gram, scaling)
    root = np.linalg.cholesky(moment)
    values = np.linalg.eigvalsh(root.T @ gram @ root)
    least = np.sum(np.sqrt(values)) ** 2 / size
    slack = 1.001 if size == 8 else 2.5  # only a Hadamard matrix spreads perfectly
    assert least * 0.999 <= noise_gain(moment, gram, basis) <= least * slack


def test_side_channels_find_what_the_windows_predict():
    random = np.random.default_rng(1)
    windows = np.concatenate([random.normal(size=(500, 27)), np.ones((500, 1))], axis=1)
    truth = random.normal(size=(28, 5)) @ random.normal(size=(5, 16))
    pixels = windows @ truth
    kernel, spread = side_channels(windows.T @ windows, windows.T @ pixels, np.eye(16))
    assert np.abs(windows @ kernel @ spread - pixels).max() < 1e-6 * np.abs(pixels).max()
    assert np.allclose(np.mean((windows @ kernel) ** 2, axis=0)[:5], 1.0)
