"""The values before rounding come in the layout of the picture, whatever a graph does after its clamp."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.export.precision.variants import make_fp16
from defian_edge.export.reference import reference_evaluations, reference_outputs
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise, random_checkpoint, tiny


@pytest.mark.parametrize(("scale", "rewritten"), [(2, False), (3, True), (4, True)])
def test_values_rounded_are_the_picture(scale, rewritten, traced):
    checkpoint = random_checkpoint(tiny(scale))
    model = traced(checkpoint)
    if rewritten:
        apply_rewrites(model)
    image = noise(17, 23, 3)
    [reference] = reference_evaluations(checkpoint.network(), [image])
    for graph, tolerance in ((model, 1e-3), (make_fp16(model), 1.0)):
        result = GraphEvaluator(graph)(image)
        assert result.values.shape == result.image.shape == (17 * scale, 23 * scale, 3)
        np.testing.assert_array_equal(np.rint(result.values), result.image)
        np.testing.assert_allclose(result.values, reference.values, atol=tolerance)


def test_what_cannot_be_followed_to_the_output_is_an_error(traced):
    model = traced(random_checkpoint(tiny()))
    [old] = [node for node in model.graph if node.op_type == "Round"]
    doubled = ir.Node("", "Mul", [old.outputs[0], old.outputs[0]])
    old.outputs[0].replace_all_uses_with(doubled.outputs[0])
    doubled.replace_input_with(0, old.outputs[0])
    doubled.replace_input_with(1, old.outputs[0])
    model.graph.insert_after(old, doubled)
    with pytest.raises(DefianError, match="followed through Mul"):
        GraphEvaluator(model)


def test_the_reference_keeps_its_values_and_its_picture():
    network, image = random_checkpoint(tiny()).network(), noise(9, 7, 3)
    [reference] = reference_evaluations(network, [image])
    assert reference.finite
    assert reference.values.dtype == np.float32
    np.testing.assert_array_equal(reference.image, reference_outputs(network, [image])[0])
    np.testing.assert_array_equal(np.rint(reference.values), reference.image)
