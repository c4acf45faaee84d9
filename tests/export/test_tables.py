"""What export.py prints of an INT8 variant, of figures that are not finite as well."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from defian_edge.calibration.drift.verdict import DriftVerdict
from defian_edge.calibration.ranges.fp16_range import BeyondFp16
from defian_edge.export.artefacts import Artefact
from defian_edge.export.engine.compiler import Target
from defian_edge.export.precision import Precision
from defian_edge.export.precision.fp16 import NOTHING
from defian_edge.export.precision.shares import GraphShares
from defian_edge.export.precision.variants import Variant
from defian_edge.export.tables import int8_lines, range_lines

SHARES: Any = {"int8": 1.0}
GRAPH_SHARES = GraphShares(SHARES, SHARES, SHARES, {"int8": 10}, 10)
FINITE = {"mean_drift_db": 0.01, "worst_drift_db": 0.02, "excess_error": 0.5, "mac_share": 0.25, "byte_share": 0.1}
MODEL = ir.Model(ir.Graph([], [], nodes=[], name="g"), ir_version=10)


def artefact(*sensitivities: dict[str, Any], beyond: BeyondFp16 = NOTHING, alone: tuple[str, ...] = ()) -> Artefact:
    mixed = {"groups": ["tail"], "dropped": ["upscale"], "mac_share": 0.9, "byte_share": 0.5}
    record = {"mixed_precision": mixed, "sensitivity": list(sensitivities), "cache": "miss"}
    return Artefact(Variant(Precision.INT8, MODEL, record, beyond, alone), None, DriftVerdict("int8"), GRAPH_SHARES)


def lines(*sensitivities: dict[str, Any], fp16: GraphShares | None = None) -> str:
    return "\n".join(int8_lines([artefact(*sensitivities)], fp16, Target.ONNX))


def test_a_ranking_is_printed_with_modules_named_as_whole():
    text = lines(*({"group": group, **FINITE} for group in ("tail", "body.0", "body.0.stream", "body.1")))
    assert "tail                   excess error 0.50000, drift +0.0100 mean +0.0200 worst dB, 25.0 % of MACs" in text
    assert "body.0 (whole)" in text
    assert "body.1 (whole)" not in text  # a block of that name
    assert "FP16 to keep the budget on the validation photos: upscale." in text


def test_figures_that_are_not_finite_are_said_to_be():
    at_fault = dict.fromkeys(("mean_drift_db", "worst_drift_db", "excess_error"))
    assert lines({"group": "tail", **FINITE, **at_fault}).count("not finite") == 3
    assert "excess error 0.50000, drift not finite" in lines({"group": "tail", **FINITE, "mean_drift_db": None})


def test_the_verdict_needs_a_fp16_graph_to_compare_with():
    assert "roofline" not in lines()
    assert "roofline" in lines(fp16=GraphShares(SHARES, SHARES, SHARES, {"fp16": 10}, 10))


def test_what_leaves_the_range_of_fp16_is_told_and_what_stays_fp32_for_it():
    names = tuple(f"t{index}" for index in range(7))
    beyond = BeyondFp16(frozenset(names), frozenset({"mean"}))
    [line] = range_lines([artefact(beyond=beyond, alone=names)])
    assert "8 tensors and sums" in line
    assert "FP32 for that alone: t0, t1, t2, t3, t4 and 2 more" in line
    assert "all FP32 anyway" in range_lines([artefact(beyond=beyond)])[0]
    assert range_lines([artefact()]) == []
