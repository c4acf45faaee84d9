"""The three lowerings of the eigenvalue step: one file for plugin and function, and real TensorRT-RTX builds of it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from defian_edge.calibration.photos import calibration_set
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, import_tensorrt, is_available
from defian_edge.export.engine.lowering import (
    Eigen,
    inline_functions,
    offer_plugin,
)
from defian_edge.export.engine.memory_plan import planned_activation_bytes
from defian_edge.export.graph import copy_of
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.models.bundled import bundled_models
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.building import rtx_parser
from defian_edge.runtime.building.build import require_plugin_layers
from defian_edge.runtime.building.function_only import without_plugin
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import write_png
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.plugin import PLUGIN_KEY
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import REPOSITORY, make_int8, noise, random_checkpoint, tiny

NAMED = {"plugin_namespace": b"defian", "plugin_version": b"1"}
DYNAMIC = ShapeProfile.parse("1x8x8,1x90x160,2x180x320")
needs_rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")


MADE = [Precision.FP32, Precision.FP16, Precision.INT8]
"""BF16 has no plugin, and graphs that ONNX Runtime does not run on a CPU: test_bf16.py."""


@pytest.fixture(scope="module")
def small_s(traced, bundled_x2):
    """The rewritten DeFiAN-S x2, which has five modules."""
    model = traced(bundled_x2)
    apply_rewrites(model)
    return model


@pytest.fixture(scope="module")
def variants(small_s):
    return {
        Precision.FP32: Variant(Precision.FP32, copy_of(small_s)),
        Precision.FP16: Variant(Precision.FP16, make_fp16(small_s)),
        Precision.INT8: make_int8(small_s, calibration_set(None, 2, patches=2)),
    }


def eigenvalue_nodes(graph: bytes) -> list[onnx.NodeProto]:
    return [node for node in onnx.load_model_from_string(graph).graph.node if node.domain == "defian"]


def upscaled(graph: bytes, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image})[0])


def rtx(*, plugin: bool, profile: ShapeProfile = DYNAMIC) -> EngineOptions:
    return EngineOptions(Target.TENSORRT_RTX, profile, uint8=True, sm=89, plugin=plugin)


@pytest.mark.parametrize("precision", MADE)
def test_every_variant_names_the_plugin_keeps_the_function_and_runs_in_onnx_runtime(variants, precision):
    graph = variants[precision].serialise()
    nodes = eigenvalue_nodes(graph)
    assert len(nodes) == 5
    assert all({a.name: a.s for a in node.attribute} == NAMED for node in nodes)
    [function] = onnx.load_model_from_string(graph).functions
    assert sorted(function.attribute) == sorted(NAMED)
    image = noise(1, 12, 17, 3)
    np.testing.assert_array_equal(upscaled(graph, image), upscaled(without_plugin(graph), image))


def test_the_names_of_the_plugin_are_all_that_is_taken_away(variants):
    graph = variants[Precision.INT8].serialise()
    stripped = without_plugin(graph)
    assert all(not node.attribute for node in eigenvalue_nodes(stripped))
    before, after = onnx.load_model_from_string(graph), onnx.load_model_from_string(stripped)
    for node in before.graph.node:
        if node.domain == "defian":
            del node.attribute[:]
    assert before == after
    assert without_plugin(b"not a graph") == b"not a graph"


@pytest.mark.parametrize("precision", MADE)
def test_the_inlined_graph_has_no_function_and_gives_the_same_picture(variants, precision):
    graph = variants[precision].serialise()
    inlined = Variant(precision, inline_functions(copy_of(variants[precision].model))).serialise()
    model = onnx.load_model_from_string(inlined)
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}
    assert {opset.domain for opset in model.opset_import} == {""}
    image = noise(1, 12, 17, 3)
    difference = upscaled(inlined, image).astype(int) - upscaled(graph, image)
    assert np.abs(difference).max() <= 1
    # Sums in another order: a value on the edge of an INT8 level may fall on its other side.
    assert (difference != 0).mean() < (0.15 if precision is Precision.INT8 else 0.01)


@needs_rtx
@pytest.mark.parametrize("precision", MADE)
def test_a_real_build_with_dynamic_shapes_takes_five_plugins_for_s(variants, precision):
    graph = variants[precision].serialise()
    with_qdq = sum(node.op_type == "QuantizeLinear" for node in onnx.load_model_from_string(graph).graph.node)
    # What 112 convolutions read, and what rounding left of it for the two in front of the picture.
    assert with_qdq == (112 + 2 if precision is Precision.INT8 else 0)
    built = build_engine(graph, rtx(plugin=True))
    assert built.facts.plugin_layers == 5
    assert built.plan.count(b"MaxHessianEigenvalue") >= 1


@needs_rtx
def test_the_function_is_taken_even_where_the_plugin_is_registered_already(variants):
    graph = variants[Precision.FP16].serialise()
    plugin, function = (build_engine(graph, rtx(plugin=plugin)) for plugin in (True, False))
    assert (plugin.facts.plugin_layers, function.facts.plugin_layers) == (5, 0)
    assert function.facts.layers > plugin.facts.layers


@needs_rtx
def test_plans_of_x2_stay_within_what_was_asked_of_them_and_the_command_says_so():
    command = [sys.executable, "-m", "defian_edge.export.plugin", "plans", "--model", "defian-s-x2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in done.stdout.splitlines()[2:]]
    plans = {(row[1], row[2]): tuple(map(float, row[3:])) for row in rows}
    assert set(plans) == {(use, step) for use in ("engine", "portable") for step in ("function", "plugin")}
    for step in ("function", "plugin"):
        moved, kernels, activation = plans["engine", step]
        assert 10.0 < moved <= 12.4
        assert 300 < kernels <= 440
        assert 100.0 < activation <= 205.0
    assert plans["portable", "plugin"][2] < plans["portable", "function"][2]


@needs_rtx
@pytest.mark.parametrize("eigen", list(Eigen))
def test_an_export_records_its_lowering_and_the_plugin_that_the_engine_needs(eigen, tmp_path):
    checkpoint, photos = tmp_path / "tiny.pth", tmp_path / "photos"
    torch.save({"state_dict": random_checkpoint(tiny()).state}, checkpoint)
    write_png(photos / "one.png", noise(40, 48, 3))
    options = ExportOptions(
        tmp_path,
        dataset=photos,
        precisions=(Precision.FP16,),
        target=Target.TENSORRT_RTX,
        sm=89,
        profile=DYNAMIC,
        eigen=eigen,
        rewrite_memory=False,
    )
    assert run_export(checkpoint, options).passed
    graph = tmp_path / "tiny.fp16.onnx"
    engine = read_manifest(tmp_path / "tiny.fp16.tensorrt-rtx.engine")
    assert read_manifest(graph).eigen == engine.eigen == eigen.value
    assert read_manifest(graph).plugins == ()
    assert engine.plugins == ((PLUGIN_KEY,) if eigen is Eigen.PLUGIN else ())
    assert engine.engine is not None
    assert engine.engine.plugin_layers == (2 if eigen is Eigen.PLUGIN else 0)
    assert len(eigenvalue_nodes(graph.read_bytes())) == (0 if eigen is Eigen.INLINE else 2)


@needs_rtx
def test_a_graph_without_the_node_has_no_plugin_lowering(variants):
    inlined = Variant(Precision.FP16, inline_functions(copy_of(variants[Precision.FP16].model))).serialise()
    with pytest.raises(DefianError, match=r"no defian::MaxHessianEigenvalue node[\s\S]*--eigen function"):
        build_engine(inlined, rtx(plugin=True))


@needs_rtx
def test_a_system_whose_parser_would_abort_is_told_before_it_does(variants, monkeypatch):
    trt = import_tensorrt(Target.TENSORRT_RTX)
    monkeypatch.setattr(rtx_parser, "let_parser_find_plugins", lambda: False)
    with pytest.raises(DefianError, match=r"end this process[\s\S]*--eigen function"):
        offer_plugin(trt, variants[Precision.FP16].serialise())


@needs_rtx
def test_a_parser_that_takes_the_other_lowering_is_found_out():
    trt = import_tensorrt(Target.TENSORRT_RTX)
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    require_plugin_layers(network, trt, 0)
    with pytest.raises(DefianError, match="Expected 5 plugin layers in the parsed network, found 0"):
        require_plugin_layers(network, trt, 5)


def test_manifests_without_the_new_fields_still_read(traced, tmp_path):
    graph = tmp_path / "tiny.onnx"
    graph.write_bytes(Variant(Precision.FP32, traced(random_checkpoint(tiny()))).serialise())
    old = {
        "file": graph.name, "sha256": hashlib.sha256(graph.read_bytes()).hexdigest(), "model": "tiny", "scale": 2,
        "precision": "fp32", "io": "uint8", "checkpoint_sha256": "0" * 64, "command": "", "schema": 1,
        "engine": {
            "flavour": "tensorrt", "version": "10.3", "compute_capability": "8.7", "activation_bytes": 1,
            "weights_bytes": 1, "engine_bytes": 1, "build_seconds": 1.0, "layers": 1,
        },
    }  # fmt: skip
    (tmp_path / "tiny.onnx.json").write_text(json.dumps(old))
    manifest = read_manifest(graph)
    assert (manifest.eigen, manifest.plugins) == ("function", ())
    assert manifest.engine is not None
    assert manifest.engine.plugin_layers == 0


@needs_rtx
@pytest.mark.parametrize(("name", "most"), [("defian-s-x2", 310e6), ("defian-s-x4", 330e6)])
def test_the_plan_with_the_plugin_stays_inside_its_memory(name, most, small_s, traced):
    model = small_s
    if name != "defian-s-x2":
        model = traced(load_checkpoint(bundled_models()[name]))
        apply_rewrites(model)
    planned = planned_activation_bytes(model, ShapeProfile.parse("1x64x64,1x360x640,1x540x960"), plugin=True)
    assert planned is not None
    assert 100e6 < planned <= most
