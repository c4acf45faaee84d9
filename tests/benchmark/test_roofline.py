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
from defian_edge.export.roofline.devices import DEVICES, device_named, device_of
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import read_manifest
from tests.conftest import REPOSITORY, random_checkpoint, tiny

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
    assert bound.compute == pytest.approx(2e9 / 330.3e12 + 2e9 / 660.6e12)
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


def test_every_device_has_plausible_peaks_and_a_source():
    for device in DEVICES.values():
        assert 1e12 < device.fp32 <= device.fp16 < device.int8 < 3e15
        assert 5e10 < device.bandwidth < 1e13
        assert "NVIDIA" in device.source
    # The modules' data sheets round to these.
    assert DEVICES["agx-orin"].int8 == pytest.approx(85e12, rel=0.01)
    assert DEVICES["orin-nano"].int8 == pytest.approx(20e12, rel=0.03)
    assert DEVICES["orin-nano-super"].int8 == pytest.approx(33e12, rel=0.02)
    assert DEVICES["orin-nx"].int8 == pytest.approx(30e12, rel=0.03)
    assert DEVICES["orin-nx-super"].int8 == pytest.approx(38e12, rel=0.02)


@pytest.mark.parametrize(
    ("gpu", "board", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "", "rtx4090"),
        ("NVIDIA H100 80GB HBM3", "", "h100"),
        ("NVIDIA A100-SXM4-80GB", "", "a100"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "", None),
        ("NVIDIA H100 PCIe", "", None),
        ("Something Else", "", None),
        (None, "", None),
        ("Orin (nvgpu)", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", "orin-nx-super"),
        (None, "NVIDIA Jetson Orin Nano Developer Kit", "orin-nano-super"),
        (None, "NVIDIA Jetson AGX Orin Developer Kit", "agx-orin"),
        (None, "NVIDIA Jetson AGX Xavier", None),
    ],
)
def test_this_machines_device_is_found_by_the_drivers_or_the_boards_whole_name(gpu, board, name):
    found = device_of(gpu, board)
    assert (found and found.name) == name


def test_the_fastest_mode_of_a_board_is_the_one_that_bounds_it():
    for fast, slow in (("orin-nano-super", "orin-nano"), ("orin-nx-super", "orin-nx")):
        assert DEVICES[fast].int8 > DEVICES[slow].int8
        assert DEVICES[fast].board
        assert not DEVICES[slow].board


def test_an_unknown_device_is_refused():
    with pytest.raises(DefianError, match=r"No device 'rtx9090'.*orin-nano.*h100"):
        device_named("rtx9090")


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


def test_the_table_in_the_documents_is_the_one_in_the_code():
    text = (REPOSITORY / "docs" / "benchmark.md").read_text()
    for device in DEVICES.values():
        rates = " | ".join(f"{rate / 1e12:.1f}" for rate in (device.fp32, device.fp16, device.int8))
        source, _, derived = device.source.partition("; its GPU clock")
        assert f"| {device.name} | {rates} | {device.bandwidth / 1e9:g} | {source} |" in text
        assert not derived or device.board or device.name in {"orin-nano", "orin-nx"}
