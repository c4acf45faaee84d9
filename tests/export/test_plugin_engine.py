"""Real TensorRT-RTX builds of a graph with the custom node: the plugin is taken, for every type and shape."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from defian_edge.runtime.building.rtx_parser import let_parser_find_plugins, stub_library
from defian_edge.runtime.plugin import hessian_plugin, is_registered, register
from tests.export.hessian_cases import random_case, reference
from tests.export.hessian_graph import model

if TYPE_CHECKING:
    import onnx

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float16])
Asked = set[tuple[int, str, str, bool]]


@pytest.fixture(scope="module", autouse=True)
def plugin_is_known() -> None:
    if not let_parser_find_plugins():
        pytest.skip("the parser's abort on custom operators cannot be cured on this system")
    register(trt)
    assert is_registered(trt)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What TensorRT asked of the plugin: (position, type, format, answer)."""
    questions: Asked = set()
    answer = hessian_plugin.format_is_supported

    def watched(module: Any, position: int, in_out: Any) -> bool:  # noqa: ANN401
        described = in_out[position].desc
        supported = answer(module, position, in_out)
        questions.add((position, described.type.name, described.format.name, supported))
        return supported

    monkeypatch.setattr(hessian_plugin, "format_is_supported", watched)
    return questions


def parsed(graph: onnx.ModelProto) -> tuple[Any, Any]:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse(graph.SerializeToString()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    return builder, network


def built(builder: Any, network: Any, largest: tuple[int, int, int]) -> Any:  # noqa: ANN401
    """A plan for sm_89 and images from 1x1 up to the largest (batch, height, width); None if the build fails."""
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    batch, height, width = largest
    profile.set_shape("image", (1, 3, 1, 1), (1, 3, height, width), (batch, 3, height, width))
    config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)


def layer_types(network: Any) -> list[str]:  # noqa: ANN401
    return [network.get_layer(index).type.name for index in range(network.num_layers)]


@TYPES
@pytest.mark.parametrize("channels", [5, 32])
def test_a_build_with_dynamic_shapes_takes_the_plugin(dtype: type, channels: int, asked: Asked) -> None:
    _, bias = random_case((1, channels, 1, 1))
    builder, network = parsed(model(channels, dtype, bias))
    assert layer_types(network).count("PLUGIN_V3") == 1
    maps = network.get_output(1)
    assert tuple(maps.shape) == (-1, 3, -1, -1)
    assert maps.dtype == (trt.float16 if dtype is np.float16 else trt.float32)
    plan = built(builder, network, (2, 270, 480))
    assert plan is not None
    assert b"MaxHessianEigenvalue" in bytes(plan)
    kind = "HALF" if dtype is np.float16 else "FLOAT"
    accepted = {(position, type_, format_) for position, type_, format_, supported in asked if supported}
    channels_last = {(0, "HALF", "HWC8")} if dtype is np.float16 else {(0, "FLOAT", "HWC")} if channels == 32 else set()
    linear = {(0, kind, "LINEAR"), (1, "FLOAT", "LINEAR"), (2, kind, "LINEAR")}
    assert accepted == linear | channels_last


def test_without_the_plugin_attributes_the_function_is_taken() -> None:
    _, bias = random_case((1, 5, 1, 1))
    builder, network = parsed(model(5, np.float16, bias, plugin=False))
    assert "PLUGIN_V3" not in layer_types(network)
    assert built(builder, network, (1, 64, 64)) is not None


@TYPES
def test_onnx_runtime_runs_the_function_of_the_same_file_to_the_reference(dtype: type) -> None:
    _, bias = random_case((1, 5, 1, 1))
    session = onnxruntime.InferenceSession(
        model(5, dtype, bias).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image, _ = random_case((2, 3, 9, 13), seed=5)
    maps, features = session.run(["maps", "features"], {"image": image.astype(dtype)})
    tolerance = 1e-3 if dtype is np.float16 else 1e-5
    expected = reference(np.asarray(features), bias)
    np.testing.assert_allclose(np.asarray(maps), expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_the_stub_makes_the_parsers_library_loadable_and_leads_to_the_real_one() -> None:
    probe = """
import ctypes, tensorrt_rtx
from defian_edge.runtime.building.rtx_parser import let_parser_find_plugins
assert let_parser_find_plugins() and let_parser_find_plugins()
assert ctypes.CDLL("libtensorrt_rtx.so").getPluginRegistry
print("found")
"""
    done = subprocess.run([sys.executable, "-c", probe], check=False, capture_output=True, text=True)
    assert done.stdout.strip() == "found", done.stderr


def test_a_stub_is_an_elf_file_with_the_wanted_name() -> None:
    stub = stub_library("libwanted.so", "libreal.so.1", 62)
    assert stub.startswith(b"\x7fELF\x02\x01\x01")
    assert stub.endswith(b"\0libwanted.so\0libreal.so.1\0")
    assert struct.pack("<II", 0x6474E551, 6) in stub, "its stack need not be executable, or glibc 2.41 refuses it"
    assert len(stub) < 1000
