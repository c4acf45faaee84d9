from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
import torch

from defian_edge.benchmark.candidates import Candidate, graph_of
from defian_edge.benchmark.measure.limits import work_at
from defian_edge.export.graph import Emitter
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import make_fp16
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.roofline.bound import Bound, Work, bound_of, work_of, work_of_network
from defian_edge.export.roofline.counts import statistics
from defian_edge.runtime.hardware.table import device_named
from defian_edge.runtime.manifest import read_manifest
from tests.conftest import random_checkpoint, tiny

SHAPE = (2, 90, 160)


def one_convolution(*, quantised: bool) -> ir.Model:
    """Image [1, 3, 8, 10] FP16 -> 3x3 conv to 4 channels -> [1, 4, 8, 10]."""
    emit = Emitter()
    image = ir.Value(name="image", shape=ir.Shape([1, 3, 8, 10]), type=ir.TensorType(ir.DataType.FLOAT16))
    source = image
    if quantised:
        scale, zero = emit.constant(np.float16(0.5) * np.ones((), np.float16)), emit.constant(np.zeros((), np.int8))
        source = emit("DequantizeLinear", emit("QuantizeLinear", image, scale, zero), scale, zero)
    weight = ir.tensor(np.ones((4, 3, 3, 3), np.float16), name="weight")
    initializer = ir.Value(
        name="weight", const_value=weight, shape=ir.Shape([4, 3, 3, 3]), type=ir.TensorType(weight.dtype)
    )
    result = emit("Conv", source, initializer, pads=[1] * 4)
    result.name, result.shape, result.type = "out", ir.Shape([1, 4, 8, 10]), image.type
    graph = ir.Graph([image], [result], nodes=emit.nodes, initializers=[initializer], opset_imports={"": 20}, name="g")
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize(("quantised", "precision", "element"), [(False, "fp16", 2), (True, "int8", 1)])
def test_the_work_of_one_convolution_is_counted_by_hand(quantised, precision, element):
    work = work_of(one_convolution(quantised=quantised), (1, 8, 10))
    assert work.macs == {precision: 8 * 10 * 4 * 3 * 9}
    assert work.least_bytes == 2 * (3 * 80 + 4 * 80 + 4 * 27)
    assert work.convolution_bytes == element * 3 * 80 + 2 * 4 * 80


def test_the_bound_is_the_larger_part():
    work = Work({"fp16": 10**9, "int8": 10**9}, least_bytes=10**9, convolution_bytes=0)
    device = device_named("rtx4090")
    bound = bound_of(work, device)
    assert bound.compute == pytest.approx(2e9 / 330.3e12 + 2e9 / 660.6e12, rel=1e-4)
    assert bound.memory == pytest.approx(1 / 1008)
    assert (bound.seconds, bound.limit) == (bound.memory, "memory")
    assert Bound("x", 2.0, 1.0).limit == "arithmetic"


def test_a_networks_macs_are_those_of_its_graph_and_fp16_moves_half(traced):
    wide = traced(random_checkpoint(tiny()))
    apply_rewrites(wide)
    half = make_fp16(wide)
    work, half_work = work_of(wide, SHAPE), work_of(half, SHAPE)
    assert work.macs == {"fp32": statistics(wide, SHAPE).macs}
    assert half_work.total_macs == work.total_macs
    assert half_work.macs["fp16"] > 0.99 * work.total_macs
    assert half_work.convolution_bytes == pytest.approx(work.convolution_bytes / 2, rel=0.05)
    picture = 2 * 90 * 160 * 3 * (1 + 4)
    assert work.least_bytes > picture


def test_a_checkpoint_does_the_work_of_its_plain_graph(traced):
    checkpoint = random_checkpoint(tiny())
    graph, network = work_of(traced(checkpoint), SHAPE), work_of_network(checkpoint.network(), SHAPE)
    assert network.macs == graph.macs
    assert network.convolution_bytes == graph.convolution_bytes
    parameters = sum(value.numel() for value in checkpoint.state.values())
    assert network.least_bytes == 4 * parameters + 2 * 90 * 160 * 3 * (1 + 4)
    assert network.least_bytes == pytest.approx(graph.least_bytes, rel=0.02)


def test_the_bundled_networks_work_is_the_one_counted_by_pytorch(bundled_x2):
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        bundled_x2.network().to("meta")(torch.empty((2, 3, 90, 160), device="meta"))
    assert 2 * work_of_network(bundled_x2.network(), SHAPE).total_macs == counter.get_total_flops()


def test_an_engine_is_counted_by_the_graph_it_was_built_from(artefacts):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    for precision in (Precision.FP32, Precision.INT8):
        engine = artefacts / f"tiny.{precision.value}.tensorrt-rtx.engine"
        manifest = read_manifest(engine)
        candidate = Candidate("e", "engine", engine, "tiny", 2, precision.value, "", "", None, "", manifest)
        assert graph_of(candidate) == artefacts / f"tiny.{precision.value}.onnx"


def test_the_bytes_of_a_plan_bound_an_engine_at_its_shape_and_by_pixels_at_another(artefacts):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    engine = artefacts / "tiny.fp32.tensorrt-rtx.engine"
    manifest = read_manifest(engine)
    assert manifest.engine is not None
    assert manifest.profile is not None
    largest = manifest.profile.maximum
    smaller = (largest[0], largest[1] // 2, largest[2])
    facts = replace(manifest.engine, moved_bytes=10**9)
    for planned, expected in ((facts, [10**9, 5 * 10**8]), (replace(facts, moved_bytes=None), [None, None])):
        known = replace(manifest, engine=planned)
        candidate = Candidate("e", "engine", engine, "tiny", 2, "fp32", "", "", None, "", known)
        work = work_at(candidate, [largest, smaller])
        assert [each.planned_bytes for each in work] == expected
        counted = expected[0] or work[0].least_bytes
        assert bound_of(work[0], device_named("h100")).memory == pytest.approx(counted / 3350e9)


def test_where_a_rate_is_not_published_memory_alone_bounds():
    work = Work({"fp32": 0, "fp16": 10**15}, least_bytes=10**9, convolution_bytes=0)
    bound = bound_of(work, device_named("gb10"))
    assert bound.compute is None
    assert (bound.seconds, bound.limit) == (pytest.approx(1 / 273), "memory")
    assert bound_of(replace(work, macs={"fp32": 0}), device_named("gb10")).compute == 0
