"""Which types are tried in which order, on networks of few channels, and what the second round does with the first."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from torch import nn

import defian_edge as de
from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.hard_images import HardPicture
from defian_edge.calibration.drift.report import DriftReport, ImageDrift, measure_drift
from defian_edge.calibration.ranges.fp16_range import BeyondFp16
from defian_edge.export import mixing
from defian_edge.export.engine.lowering import Eigen
from defian_edge.export.measure import Measured
from defian_edge.export.mixing import Mixing
from defian_edge.export.options import ExportOptions
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.sensitivity import error_of
from defian_edge.export.precision.mixed import Mixed, MixOptions, choose_types
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import Use
from defian_edge.export.source.opening import open_source
from defian_edge.export.trace.network import Io
from tests.conftest import noise
from tests.export.hessian_graph import model
from tests.export.mixed_networks import OFFSET, Chain, loud_and_quiet, reference_on, scaled, seeded

BF16, HALF, FULL = ir.DataType.BFLOAT16, ir.DataType.FLOAT16, ir.DataType.FLOAT
BUDGET = 0.05
PROFILE = de.ShapeProfile.parse("1x16x20")
PICTURE = noise(16, 20, 3)
DARK = PICTURE // 64
"""Nothing in it leaves FP16's range, which begins at 28 of 255 levels."""
PRECISE = 3e6
"""In FP32 a picture of 6e5 is whole beside it, in BF16 it has 37 steps."""


class Case:
    """A network of :class:`Chain`, what it makes of some pictures, and its FP16 graph's report on them."""

    def __init__(self, modules: list[nn.Module], *pictures: np.ndarray, budget: float | None = BUDGET) -> None:
        network = open_source(seeded(lambda: Chain(*modules)))
        self.graph, self.reference, self.budget = network.trace(Io.UINT8), reference_on(network, *pictures), budget
        self.upscale = network.upscale

    def failed(self):
        """It misses the budget, or the case is none."""
        report = measure_drift("fp16", GraphEvaluator(make_fp16(self.graph), ranges=True), self.reference)
        assert not report.verdict(self.budget).passed
        return report

    def choice(self):
        options = MixOptions(self.budget, PROFILE, bf16=True)
        return choose_types(self.graph, BeyondFp16(), [self.failed()], self.reference, options)

    def types(self, mixed):
        """Type of what each convolution of the body writes."""
        graph = mixed.graph(self.graph).graph
        return {n.name.split(".")[1]: n.outputs[0].dtype for n in graph if (n.name or "").startswith("body.")}

    def keeps(self, mixed):
        report = measure_drift("fp16", GraphEvaluator(mixed.graph(self.graph)), self.reference)
        return report.verdict(self.budget).passed


def test_where_bf16_misses_the_budget_the_same_nodes_are_fp32():
    case = Case(loud_and_quiet(PRECISE), PICTURE)
    mixed = case.choice()
    assert mixed.bf16 == mixed.fp32 == ()
    assert mixed.ranged == ("body.2",), "FP16 does not hold the offset of the one before, which is FP32 by rule"
    assert mixed.trials == 2
    assert case.types(mixed)["3"] == HALF
    assert case.keeps(mixed)


def test_bf16_is_tried_again_where_bits_are_missing_elsewhere():
    case = Case([*loud_and_quiet(), scaled(1.0, OFFSET), scaled(1.0, -OFFSET)], PICTURE)
    mixed = case.choice()
    assert set(mixed.bf16) >= {"body.1"}
    assert "body.4" in mixed.fp32
    assert case.types(mixed)["1"] == BF16
    assert case.types(mixed)["4"] == FULL
    assert case.keeps(mixed)


def test_what_a_compiler_cannot_type_as_bf16_is_fp32_among_bf16():
    case = Case(loud_and_quiet(transposed=True), PICTURE)
    mixed = case.choice()
    assert {"body.1"} <= set(mixed.bf16)
    types = {node.op_type: node.outputs[0].dtype for node in mixed.graph(case.graph).graph}
    assert types["ConvTranspose"] == FULL
    assert BF16 in mixed.others.values()
    assert case.keeps(mixed)


def test_without_a_budget_a_hard_image_alone_is_what_types_are_chosen_on():
    """The photo is dark and passes; the fault is on an image of full contrast that only the hard ones have."""
    case = Case(loud_and_quiet(), DARK, budget=None)
    hard = HardPicture("bright", PICTURE, case.upscale(PICTURE))
    case.reference = replace(case.reference, hard=[HardPicture("dark", DARK, case.upscale(DARK)), hard])
    failed = case.failed()
    assert failed.faults == []
    assert [fault.partition(":")[0] for fault in failed.hard] == ["bright"]
    mixed = case.choice()
    assert not mixed.refused
    assert mixed.bf16
    assert mixed.trials == 1
    assert case.keeps(mixed)


class Means(nn.Module):
    """What is left of a picture without the mean of each channel, and without that of each pixel."""

    def forward(self, x):
        return x - x.mean((2, 3), keepdim=True) - x.mean(1, keepdim=True)


def test_sums_that_leave_the_range_are_fp32_by_rule_so_that_none_has_to_be_found():
    graph = Case([Means()], DARK).graph
    sums = frozenset(node.outputs[0].name or "" for node in graph.graph if node.op_type == "ReduceMean")
    assert len(sums) == 2
    found, none = (make_fp16(graph, BeyondFp16(frozenset(), each)) for each in (sums, frozenset()))
    assert Variant(Precision.FP16, found).serialise() == Variant(Precision.FP16, none).serialise()


def report(drift, **more):
    image = ImageDrift("photo", 30.0 - drift, 30.0, 1.0, 1.0, 50.0, unrounded_to_reference=50.0)
    return DriftReport("fp16", (image,), **more)


def test_a_hard_image_at_fault_does_not_change_the_order_of_int8():
    assert error_of(report(0.0, hard=("black: NaN",))) == error_of(report(0.0)) < np.inf


@pytest.fixture
def rounds(monkeypatch, tmp_path):
    """``rounds(choices, reports, **options)``: what Mixing makes of these, and the reports that choices were made on.

    The choice and the gate are doubles; the graph is one with a function.
    """
    graph = ir.from_proto(model(4, np.float32, np.zeros((3, 3, 4), np.float32)))

    def run(choices, reports, **options):
        left, measured, seen = list(choices), list(reports), []

        def chosen(*arguments):
            seen.append(list(arguments[2]))
            return left.pop(0)

        monkeypatch.setattr(mixing, "choose_types", chosen)
        gate: Any = SimpleNamespace(reference=None, measured=lambda _: Measured(measured.pop(0)))
        given = ExportOptions(tmp_path, (Precision.FP16,), max_drift=BUDGET, graph_for=Use.ENGINE, **options)
        first = Variant(Precision.FP16, make_fp16(graph))
        mix = Mixing(gate, given, "", [], lambda _: None)
        made, found = mix.where_needed(first, gate.measured(first), graph)
        assert not left, "every choice was asked for"
        assert not measured, "and every graph measured"
        return first, made, found, seen

    return run


def choice(**more):
    return Mixed(BeyondFp16(), parts=2, **more)


def test_where_another_image_misses_the_budget_the_types_are_chosen_again_on_both(rounds):
    reports = [report(1.0), report(0.5), report(0.01)]
    choices = [choice(bf16=("a",), trials=1), choice(fp32=("b",), trials=9)]
    _, made, found, seen = rounds(choices, reports)
    assert seen == [reports[:1], reports[:2]]
    assert found.report is reports[2]
    assert made.mixed == {"bf16": [], "fp32_range": [], "fp32": ["b"], "parts": 2, "trials": 10, "nodes": 0}


def test_where_the_second_round_finds_nothing_the_variant_is_that_without_mixed_types(rounds):
    reports = [report(1.0), report(0.5)]
    first, made, found, _ = rounds([choice(bf16=("a",), trials=1), choice(refused="no", trials=9)], reports)
    assert made.model is first.model
    assert found.report is reports[0]
    assert made.mixed["refused"] == "no"
    assert made.mixed["bf16"] == []
    assert made.mixed["trials"] == 10


def test_there_is_no_third_round(rounds):
    reports = [report(1.0), report(0.5), report(0.4)]
    _, made, found, seen = rounds([choice(fp32=("a",)), choice(fp32=("a", "b"))], reports)
    assert len(seen) == 2
    assert found.report is reports[2]
    assert made.mixed["fp32"] == ["a", "b"]


@pytest.mark.parametrize(("eigen", "functions"), [(Eigen.INLINE, 0), (Eigen.FUNCTION, 1)])
def test_mixed_types_are_lowered_as_the_variant_was(eigen, functions, rounds):
    _, made, _, _ = rounds([choice(fp32=("a",))], [report(1.0), report(0.0)], eigen=eigen)
    assert len(made.model.functions) == functions
