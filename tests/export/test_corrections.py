"""tools/corrections.py: the simulator is the graph, and every correction lowers what it is meant to lower."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.photos import PATCH, calibration_set, evaluation_pairs
from defian_edge.calibration.ranges.estimators import RangeMethod
from defian_edge.export.graph import copy_of
from defian_edge.export.precision.int8 import residue
from defian_edge.export.precision.int8.calibrate import calibrate
from defian_edge.export.precision.int8.qdq import insert_qdq
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope, block_sum
from defian_edge.export.precision.variants import make_fp16
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.trace.network import trace
from defian_edge.runtime.images import write_png
from tests.conftest import random_checkpoint, tiny
from tools import corrections
from tools.corrections import CORRECTIONS, Learning
from tools.simulator import Simulator


@pytest.fixture(scope="module", params=list(Scope), ids=lambda scope: scope.value)
def calibrated(request):
    graph = trace(random_checkpoint(tiny()))
    apply_rewrites(graph)
    patches = replace(calibration_set(None, 2, patches=6), size=24)
    recipe = Recipe(scope=request.param, method=RangeMethod.MSE)  # which clips, so that there is something to learn
    return calibrate(graph, patches, recipe), Learning(list(patches), 40)


def picture(calibrated, image, *, int8):
    return Simulator(calibrated[0])(torch.tensor(image[None]), int8=int8).detach().numpy()


def as_graph(values, scale=2):
    """[1, 3 * s^2, H, W] or [1, 3, sH, sW] -> uint8-like RGB [sH, sW, 3]."""
    shuffled = values if values.shape[1] == 3 else torch.pixel_shuffle(torch.from_numpy(values), scale).numpy()
    return np.clip(shuffled[0].transpose(1, 2, 0), 0.0, 255.0)


def test_the_simulator_is_the_fp32_graph(calibrated):
    image = calibrated[1].patches[0]
    expected = GraphEvaluator(calibrated[0].model)(image).values
    assert np.abs(as_graph(picture(calibrated, image, int8=False)) - expected).max() < 0.02


def distances(calibrated, image, *simulated):
    """Mean squared differences of simulated pictures to that of the INT8 graph."""
    model = make_fp16(calibrated.model)
    insert_qdq(model, calibrated.plan)
    int8 = GraphEvaluator(copy_of(model))(image).values
    return [np.square(as_graph(each) - int8).mean() for each in simulated]


def test_the_simulated_int8_is_nearer_to_the_int8_graph_than_fp32_is(calibrated):
    image = calibrated[1].patches[0]
    both = (picture(calibrated, image, int8=quantised) for quantised in (True, False))
    int8, fp32 = distances(calibrated[0], image, *both)
    assert int8 < 0.5 * fp32


@pytest.mark.parametrize("calibrated", [Scope.CONVOLUTIONS], indirect=True)
def test_two_terms_are_simulated_as_two(calibrated, monkeypatch):
    monkeypatch.setattr(residue, "MOST_MACS", 1.0)  # which in so small a network they exceed
    patches = replace(calibration_set(None, 2, patches=6), size=24)
    found, image = calibrate(calibrated[0].model, patches, Recipe(side=False, basis=False)), calibrated[1].patches[0]
    assert found.plan.two_terms == {"tail", "upscale"}
    one_term = replace(found, plan=replace(found.plan, two_terms=frozenset()))
    simulated = (picture((each,), image, int8=True) for each in (found, one_term))
    two, one = distances(found, image, *simulated)
    assert two < 0.5 * one


def training_error(calibrated, learning):
    """Mean squared error of the simulated INT8 picture on the patches that were learned from."""
    simulator = Simulator(calibrated)
    images = learning.batch(np.random.default_rng(5), 12)
    with torch.no_grad():
        return (simulator(images, int8=True) - simulator(images, int8=False)).square().mean().item()


def test_the_stages_are_the_network_in_order_and_own_everything_once(calibrated):
    simulator = Simulator(calibrated[0])
    stages = list(simulator.stages())
    nodes = [node for stage in stages for node in stage.nodes]
    assert nodes == simulator.nodes[: len(nodes)]
    ended = [block_sum(node.outputs[0]) for node in nodes if node.name and node.name.endswith(".block.2")]
    assert len(ended) == 2
    assert {each.total.name for each in ended if each} <= {stage.target for stage in stages}  # right where its sum is
    convolutions = [name for stage in stages for name in stage.convolutions]
    assert sorted(convolutions) == sorted(site.node for site in calibrated[0].sites.convolutions)
    limits = [name for stage in stages for name in stage.limits]
    assert len(limits) == len(set(limits))
    assert set(limits) == set(calibrated[0].sites.tensors)
    with torch.no_grad():  # run stage by stage, the network makes the picture that it makes as one
        images = calibrated[1].batch(np.random.default_rng(0), 2)
        found = simulator.start(images)
        for stage in stages:
            simulator.run(stage.nodes, found, int8=True)
            assert stage.target in found
        simulator.run(simulator.nodes[len(nodes) :], found, int8=True)
        assert torch.equal(next(reversed(found.values())), simulator(images, int8=True))


@pytest.mark.parametrize("name", ["learned ranges", "ranges block by block"])
def test_learned_ranges_lower_the_error_where_ranges_are_wrong(calibrated, name):
    wide = {name: 4.0 * limit for name, limit in calibrated[0].plan.limits.items()}
    spoilt = replace(calibrated[0], plan=replace(calibrated[0].plan, limits=wide))
    learned = CORRECTIONS[name](spoilt, calibrated[1])
    assert training_error(learned, calibrated[1]) < training_error(spoilt, calibrated[1])


@pytest.mark.parametrize("name", ["learned rounding", "rounding block by block"])
def test_learned_rounding_keeps_every_weight_at_one_of_its_two_neighbours(calibrated, name):
    learned = CORRECTIONS[name](calibrated[0], calibrated[1])
    moved = 0
    for convolution, (integers, _) in learned.plan.weights.items():
        difference = np.abs(integers.astype(int) - calibrated[0].plan.weights[convolution][0])
        assert difference.max() <= 1
        moved += int(difference.sum())
    assert moved > 0


def mean_outputs(calibrated, learning, *, int8):
    means = {}

    def note(name, value):
        means[name] = value.mean(dim=(0, 2, 3))
        return value

    with torch.no_grad():
        images = learning.batch(np.random.default_rng(0), corrections.BIAS_BATCH, PATCH)
        Simulator(calibrated)(images, int8=int8, see=note)
    return means


def test_bias_correction_gives_every_int8_convolution_the_mean_output_it_had(calibrated):
    corrected = CORRECTIONS["bias correction"](*calibrated)
    wanted, before, after = (
        mean_outputs(chosen, calibrated[1], int8=int8)
        for chosen, int8 in ((calibrated[0], False), (calibrated[0], True), (corrected, True))
    )
    assert wanted
    for name, mean in wanted.items():
        assert torch.allclose(after[name], mean, atol=1e-4 * float(mean.abs().max()))
    assert any(
        not torch.allclose(before[name], mean, atol=1e-3 * float(mean.abs().max())) for name, mean in wanted.items()
    )


def test_every_correction_has_a_row_in_both_scopes(tmp_path, capsys):
    checkpoint = random_checkpoint(tiny())
    torch.save(checkpoint.state, tmp_path / "tiny.pth")
    write_png(tmp_path / "crop.png", evaluation_pairs(2)[0].hr[100:148, 100:148])
    arguments = ["--model", str(tmp_path / "tiny.pth"), "--patches", "2", "--steps", "2", "--dataset", str(tmp_path)]
    corrections.main(arguments)
    text = capsys.readouterr().out
    for scope in Scope:
        for name in CORRECTIONS:
            assert f"{scope.value}, {name} " in text
