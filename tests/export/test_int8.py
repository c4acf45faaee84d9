from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from calibration.drift import measure_drift
from calibration.evaluator import GraphEvaluator
from calibration.photos import calibration_set, evaluation_pairs
from calibration.ranges import RangeMethod
from export.precision.int8 import LEVELS, RESIDUAL_BLOCK, half_scale, insert_qdq
from export.reference import reference_outputs
from export.rewrites import apply_rewrites
from export.variants import make_half, make_int8
from tests.conftest import random_checkpoint, tiny


@pytest.fixture(scope="module")
def quantised(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    return make_int8(model, calibration_set(None, 2, patches=6), RangeMethod.PERCENTILE).model


def producer(value):
    node = value.producer()
    assert node is not None
    return node


def test_input_and_weight_of_every_residual_block_convolution_come_from_int8(quantised):
    found = [node for node in quantised.graph if node.op_type == "Conv" and RESIDUAL_BLOCK.match(node.name or "")]
    assert len(found) == 2 * 1 * 2
    for node in found:
        for value in node.inputs[:2]:
            dequantise = producer(value)
            assert dequantise.op_type == "DequantizeLinear"
            assert dequantise.inputs[0].dtype == ir.DataType.INT8
            assert dequantise.outputs[0].dtype == ir.DataType.FLOAT16
        assert producer(producer(node.inputs[0]).inputs[0]).op_type == "QuantizeLinear"


def test_nothing_else_is_quantised(quantised):
    for node in quantised.graph:
        if node.op_type == "DequantizeLinear":
            readers = {use.node.name for use in node.outputs[0].uses()}
            assert all(RESIDUAL_BLOCK.match(name or "") for name in readers)


def test_quantisation_is_symmetric_with_fp16_scales_and_per_channel_weights(quantised):
    for node in quantised.graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = (ir.convenience.get_const_tensor(value) for value in node.inputs[1:])
        assert scale is not None
        assert zero is not None
        assert scale.dtype == ir.DataType.FLOAT16
        assert (scale.numpy() > 0).all()
        assert not zero.numpy().any()
        if node.inputs[0].is_initializer():
            assert node.attributes["axis"].as_int() == 0
            assert scale.shape == ir.Shape([16])
            weights = ir.convenience.get_const_tensor(node.inputs[0])
            assert weights is not None
            assert np.abs(weights.numpy().astype(int)).max() == LEVELS


def test_no_tensor_carries_two_pairs(quantised):
    sources = [node.inputs[0] for node in quantised.graph if node.op_type == "QuantizeLinear"]
    assert len(sources) == len(set(sources))


def test_a_convolution_without_a_range_is_an_error_and_not_left_in_fp16(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    with pytest.raises(ValueError, match="needs a range"):
        insert_qdq(make_half(model), {})


def test_a_scale_never_becomes_zero_in_fp16():
    assert (half_scale(np.asarray([0.0, 1e-12, 1.0])) > 0).all()


def test_rewrites_do_not_change_what_int8_costs(traced, bundled_x2):
    pairs = [p for p in evaluation_pairs(2) if p.name == "chelsea"]
    references = reference_outputs(bundled_x2.network(), (pair.lr for pair in pairs))
    patches = calibration_set(None, 2, patches=12)
    drifts = []
    for rewritten in (False, True):
        model = traced(bundled_x2)
        if rewritten:
            apply_rewrites(model)
        variant = make_int8(model, patches, RangeMethod.PERCENTILE)
        drifts.append(measure_drift("int8", GraphEvaluator(variant.model), references, pairs, 2))
    assert abs(drifts[0].mean - drifts[1].mean) < 0.01
    assert abs(drifts[0].psnr_to_reference - drifts[1].psnr_to_reference) < 1.0
