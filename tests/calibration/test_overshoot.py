"""What INT8 ranges clip is seen while a graph is evaluated, and told per image."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx_ir as ir
import pytest

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.overshoot import REACH, Overshoot
from defian_edge.calibration.drift.reference import Reference
from defian_edge.calibration.drift.report import DriftReport, ImageDrift, measure_drift
from defian_edge.calibration.photos import EvaluationPair
from defian_edge.export.graph import Emitter
from defian_edge.export.range_table import SHOWN, overshoot_lines, overshoot_table


def quantising(*steps):
    """A x1 network that quantises its image with each of these steps, one after the other."""
    emit = Emitter()
    image = ir.Value(name="image", shape=ir.Shape(["n", "h", "w", 3]), type=ir.TensorType(ir.DataType.UINT8))
    value = emit("Cast", image, to=int(ir.DataType.FLOAT))
    for index, step in enumerate(steps):
        scale, zero = emit.constant(np.array(step, np.float32)), emit.constant(np.zeros((), np.int8))
        integers = emit("QuantizeLinear", value, scale, zero)
        integers.name, integers.type = f"map{index}.quantised", ir.TensorType(ir.DataType.INT8)
        value = emit("DequantizeLinear", integers, scale, zero)
        value.type = ir.TensorType(ir.DataType.FLOAT)
    bounds = emit.constant(0.0), emit.constant(255.0)
    picture = emit("Cast", emit("Round", emit("Clip", value, *bounds)), to=int(ir.DataType.UINT8))
    picture.name, picture.shape, picture.type = "upscaled", image.shape, image.type
    graph = ir.Graph([image], [picture], nodes=emit.nodes, opset_imports={"": 20}, name="g")
    return ir.Model(graph, ir_version=10)


def grey(*levels):
    return np.repeat(np.array(levels, np.uint8)[None, :, None], 3, axis=2)


def test_the_range_that_suits_an_image_least_is_told():
    evaluate = GraphEvaluator(quantising(4.0, 1.0), ranges=True)
    quiet, loud = evaluate(grey(0, 30, 60, 120)).overshoot, evaluate(grey(0, 30, 200, 255)).overshoot
    assert quiet is not None
    assert loud is not None
    assert (quiet.tensor, quiet.share, quiet.clipping) == ("map1", 0.0, 0.0)
    assert quiet.times == pytest.approx(120 / REACH)
    assert (loud.tensor, loud.share) == ("map1", 0.5)
    assert loud.times == pytest.approx(256 / REACH)
    assert loud.clipping == pytest.approx(12 * ((200 - REACH) ** 2 + (256 - REACH) ** 2) / 4)


def test_what_still_rounds_to_the_last_integer_is_not_clipped():
    seen = GraphEvaluator(quantising(1.0), ranges=True)(grey(127, 127)).overshoot
    assert seen == Overshoot("map0", pytest.approx(127 / REACH), 0.0, 0.0)  # type: ignore[arg-type]


def test_a_graph_without_int8_shows_none_and_the_picture_is_the_same():
    assert GraphEvaluator(quantising(), ranges=True)(grey(1, 2)).overshoot is None
    assert GraphEvaluator(quantising(1.0))(grey(1, 255)).overshoot is None
    assert GraphEvaluator(quantising(1.0), ranges=True)(grey(1, 255)).image.tolist() == grey(1, 127).tolist()


def test_a_report_names_the_images_that_calibration_did_not_cover_and_an_export_warns():
    photos = {"dull": grey(0, 100), "bright": grey(0, 250), "brighter": grey(251, 255)}
    pairs = [
        EvaluationPair(name, np.repeat(lr, 24, 0).repeat(12, 1), np.repeat(lr, 24, 0).repeat(12, 1))
        for name, lr in photos.items()
    ]
    reference = Reference(pairs, [GraphEvaluator(quantising(), ranges=True)(pair.lr) for pair in pairs], 1)
    report = measure_drift("int8", GraphEvaluator(quantising(1.0), ranges=True), reference)
    assert [image.name for image in report.uncovered] == ["brighter", "bright"]
    kept = report.summary()["images"][1]["overshoot"]
    assert kept == {
        "tensor": "map0",
        "times": pytest.approx(250 / REACH),
        "share": 0.5,
        "clipping": pytest.approx(6 * (250 - REACH) ** 2),
    }
    artefacts = [SimpleNamespace(drift=None), SimpleNamespace(drift=report)]
    table = overshoot_table(artefacts)  # type: ignore[arg-type]
    assert table is not None
    assert [row[0] for row in table.rows] == ["brighter", "bright", "dull"]
    assert table.rows[0][3:5] == ("2.00 x range", "100.0000%")
    for calibration, into in ((None, "--calibration FOLDER"), ("photos", "photos")):
        (line,) = overshoot_lines(artefacts, calibration)  # type: ignore[arg-type]
        assert line.startswith("WARNING: int8's ranges do not cover 2 of 3 images")
        assert f"help most in {into}, the first most: brighter, bright." in line


def test_without_int8_nothing_is_said_and_of_many_images_the_least_suited():
    assert overshoot_table([SimpleNamespace(drift=None)]) is None  # type: ignore[list-item]
    images = [
        ImageDrift(f"{i}", 30.0, 30.0, 0.9, 0.9, 60.0, overshoot=Overshoot("x", 1 + i / 10, 1e-3, float(i)))
        for i in range(SHOWN + 2)
    ]
    report = DriftReport("int8", tuple(images))
    table = overshoot_table([SimpleNamespace(drift=report)])  # type: ignore[list-item]
    assert table is not None
    assert [row[0] for row in table.rows] == [f"{i}" for i in range(SHOWN + 1, 1, -1)]
