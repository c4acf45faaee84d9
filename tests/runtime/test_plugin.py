"""The TensorRT plugin's answers, its registration, and its enqueue on a driver that runs the kernel on the CPU."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.export.plugin.cpu_kernel import CpuKernel, aligned, to_channels_last
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin import PLUGIN_KEY, binary, device, provide, register
from defian_edge.runtime.plugin.device import load_kernels
from defian_edge.runtime.plugin.hessian_plugin import creator_class, format_is_supported, plugin_class
from defian_edge.runtime.plugin.launch import KERNELS, Features, plan
from tests.conftest import needed
from tests.doubles.launch_driver import LaunchDriver, Status
from tests.export.hessian_cases import random_case, reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

TensorRt = Any
IMAGE = b"".join(name.encode() for name in KERNELS)


class Registry:
    """As much of IPluginRegistry as registration needs."""

    def __init__(self) -> None:
        self.all_creators: list[Any] = []

    def register_creator(self, creator: Any, namespace: str) -> bool:  # noqa: ANN401
        assert namespace == creator.plugin_namespace
        self.all_creators.append(creator)
        return True


def stand_in_for_tensorrt() -> Any:  # noqa: ANN401
    """A module with the names that the plugin uses; test_trt_names.py proves that the real ones have them."""
    module: Any = ModuleType("tensorrt")
    module.float32, module.float16, module.int8 = "float32", "float16", "int8"
    module.TensorFormat = SimpleNamespace(LINEAR="LINEAR", HWC8="HWC8", HWC="HWC", CHW4="CHW4")
    module.IPluginV3, module.IPluginV3OneCore = type("V3", (), {}), type("Core", (), {})
    module.IPluginV3OneBuild, module.IPluginV3OneRuntime = type("Build", (), {}), type("Runtime", (), {})
    module.IPluginCreatorV3One = type("Creator", (), {})
    module.PluginFieldCollection = list
    module.DimsExprs = lambda count: [None] * count
    registry = Registry()
    module.get_plugin_registry = lambda: registry
    return module


@pytest.fixture
def trt() -> Any:  # noqa: ANN401
    return stand_in_for_tensorrt()


@pytest.fixture(scope="module")
def cpu_kernel(tmp_path_factory: pytest.TempPathFactory) -> CpuKernel:
    needed("g++")
    return CpuKernel(tmp_path_factory.mktemp("cpu_kernel"))


@pytest.fixture
def driver(cpu_kernel: CpuKernel, monkeypatch: pytest.MonkeyPatch) -> LaunchDriver:
    monkeypatch.setattr(device, "kernel_images", lambda _: [("this test", lambda: IMAGE)])
    stand_in = LaunchDriver(cpu_kernel)
    monkeypatch.setattr(device, "cuda_driver", lambda: stand_in)
    return stand_in


def described(dims: tuple[int, ...], kind: str, layout: str) -> Any:  # noqa: ANN401
    return SimpleNamespace(dims=dims, type=kind, format=layout)


def combination(channels: int, *tensors: tuple[str, str]) -> list[Any]:
    dims = ((-1, channels, -1, -1), (3, 3, channels), (-1, 3, -1, -1))
    return [SimpleNamespace(desc=described(each, *tensor)) for each, tensor in zip(dims, tensors, strict=True)]


@pytest.mark.parametrize(
    ("features", "channels", "supported"),
    [
        (("float32", "LINEAR"), 5, True),
        (("float16", "LINEAR"), 5, True),
        (("float16", "HWC8"), 5, True),
        (("float32", "HWC"), 32, True),
        (("float32", "HWC"), 5, False),
        (("float16", "HWC"), 32, False),
        (("float32", "HWC8"), 32, False),
        (("float16", "CHW4"), 32, False),
        (("int8", "LINEAR"), 32, False),
    ],
)
def test_features_may_be_fp32_or_fp16_linear_or_channels_last(
    trt: TensorRt, features: tuple[str, str], channels: int, supported: bool
) -> None:
    rest = (("float32", "LINEAR"), (features[0], "LINEAR"))
    assert format_is_supported(trt, 0, combination(channels, features, *rest)) is supported


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_bias_is_fp32_and_maps_are_linear_of_the_features_type(trt: TensorRt, kind: str) -> None:
    other = "float16" if kind == "float32" else "float32"
    good = combination(8, (kind, "LINEAR"), ("float32", "LINEAR"), (kind, "LINEAR"))
    assert all(format_is_supported(trt, position, good) for position in range(3))
    bad = combination(8, (kind, "LINEAR"), ("float16", "LINEAR"), (other, "LINEAR"))
    assert [format_is_supported(trt, position, bad) for position in range(3)] == [True, False, False]
    vectorised = combination(8, (kind, "LINEAR"), ("float32", "HWC"), (kind, "HWC8"))
    assert [format_is_supported(trt, position, vectorised) for position in (1, 2)] == [False, False]


def test_maps_have_three_channels_and_the_features_other_dimensions(trt: TensorRt) -> None:
    plugin = plugin_class(trt)()
    builder = SimpleNamespace(constant=lambda value: value)
    (maps,) = plugin.get_output_shapes([["n", "c", "h", "w"], [3, 3, "c"]], [], builder)
    assert maps == ["n", 3, "h", "w"]
    assert plugin.get_output_data_types(["float16", "float32"]) == ["float16"]
    assert plugin.num_outputs == 1


def test_a_clone_is_another_plugin_with_the_same_identity(trt: TensorRt) -> None:
    plugin = creator_class(trt)().create_plugin("eig", [], None)
    for copy in (plugin.clone(), plugin.attach_to_context(None)):
        assert copy is not plugin
        assert (copy.plugin_name, copy.plugin_namespace, copy.plugin_version) == ("MaxHessianEigenvalue", "defian", "1")
        assert list(copy.get_fields_to_serialize()) == []


def test_registering_twice_leaves_one_creator(trt: TensorRt) -> None:
    register(trt)
    register(trt)
    (creator,) = trt.get_plugin_registry().all_creators
    assert (creator.name, creator.plugin_namespace) == ("MaxHessianEigenvalue", "defian")


def test_provide_registers_what_a_manifest_lists(trt: TensorRt) -> None:
    provide(trt, [])
    assert trt.get_plugin_registry().all_creators == []
    provide(trt, [PLUGIN_KEY])
    assert len(trt.get_plugin_registry().all_creators) == 1


def test_an_unknown_plugin_is_named_before_tensorrt_meets_it(trt: TensorRt) -> None:
    with pytest.raises(DefianError, match="defian::Other/1") as raised:
        provide(trt, [PLUGIN_KEY, "defian::Other/1"], built_by="defian-edge 3.1.0")
    assert raised.value.hint.startswith("Install defian-edge 3.1.0, which built the engine")


def test_a_tensorrt_without_python_plugins_is_refused_with_the_way_out(trt: TensorRt) -> None:
    del trt.IPluginV3OneRuntime
    with pytest.raises(DefianError, match="IPluginV3OneRuntime") as raised:
        register(trt)
    assert "--eigen function" in raised.value.hint


@pytest.mark.parametrize(
    ("channels", "limit", "vectors"), [(32, 101_376, 2), (32, 65_536, 1), (4, 101_376, 1), (8, 101_376, 2)]
)
def test_fp32_channels_last_pixels_go_two_vectors_at_a_time_where_memory_allows(
    channels: int, limit: int, vectors: int
) -> None:
    chosen = plan(Features(1, channels, 65, 65, fp16=False, channels_last=True), limit)
    assert (chosen.vectors, chosen.shared_bytes) == (vectors, vectors * 43_776)
    assert chosen.blocks == 3 * 2
    assert chosen.shared_bytes <= limit


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("limit", [65_536, 101_376])
def test_an_fp16_launch_is_the_same_on_every_target(channels_last: bool, limit: int) -> None:
    chosen = plan(Features(1, 5, 65, 65, fp16=True, channels_last=channels_last), limit)
    assert (chosen.blocks, chosen.threads, chosen.shared_bytes) == (3 * 3, 256, 35_408)


def test_a_grid_that_cuda_cannot_launch_is_refused() -> None:
    with pytest.raises(DefianError, match="blocks"):
        plan(Features(1, 1, 2**22, 2**22, fp16=True, channels_last=False), 65_536)


@pytest.mark.parametrize(
    ("kind", "layout", "channels"),
    [("float32", "LINEAR", 5), ("float16", "LINEAR", 32), ("float16", "HWC8", 5), ("float32", "HWC", 16)],
)
def test_enqueue_launches_the_kernel_on_tensorrts_stream(
    trt: TensorRt, driver: LaunchDriver, kind: str, layout: str, channels: int
) -> None:
    features, bias = random_case((2, channels, 33, 70))
    features = features.astype(kind)
    maps = aligned(np.full((2, 3, 33, 70), np.nan, kind))
    stored = aligned(features) if layout == "LINEAR" else to_channels_last(features, -(-channels // 8) * 8)
    bias_stored = aligned(bias)
    plugin = plugin_class(trt)().attach_to_context(None)
    inputs = [described(features.shape, kind, layout), described(bias.shape, "float32", "LINEAR")]
    outputs = [described(maps.shape, kind, "LINEAR")]
    plugin.on_shape_change(inputs, outputs)
    loaded = len(driver.calls)
    plugin.enqueue(inputs, outputs, [stored.ctypes.data, bias_stored.ctypes.data], [maps.ctypes.data], 0, 0x5EED)
    (launch,) = driver.calls[loaded:]
    assert launch[0] == "launch"
    assert launch[5] == 0x5EED
    assert launch[2] == (2 * 2 * 2 if kind == "float32" else 2 * 2 * 3, 1, 1)
    assert_equal_to_precision(maps, reference(features, bias))


def assert_equal_to_precision(maps: NDArray[Any], expected: NDArray[Any]) -> None:
    tolerance = 1e-3 if maps.dtype == np.float16 else 1e-5
    np.testing.assert_allclose(maps.astype(np.float64), expected, rtol=tolerance, atol=tolerance / 10)


RECORDS = [
    *("{", "[]", "{}", '{"source_sha256": "of this source"}'),
    '{"source_sha256": "of this source", "architectures": []}',
    '{"source_sha256": "of an older source", "architectures": [87]}',
]


@pytest.mark.parametrize("record", RECORDS)
def test_a_fatbin_whose_record_does_not_speak_for_it_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: str
) -> None:
    monkeypatch.setattr(binary, "source_folder", lambda: tmp_path)
    monkeypatch.setattr(binary, "source_digest", lambda: "of this source")
    (tmp_path / binary.FATBIN).write_bytes(b"code")
    (tmp_path / binary.FATBIN_RECORD).write_text(record)
    assert binary.ahead_of_time_image((8, 7)) is None
    (tmp_path / binary.FATBIN_RECORD).write_text('{"source_sha256": "of this source", "architectures": [87]}')
    assert binary.ahead_of_time_image((8, 7)) == b"code"


def test_an_empty_batch_launches_nothing(driver: LaunchDriver) -> None:
    kernels = load_kernels(driver)
    kernels.launch(Features(0, 32, 8, 8, fp16=True, channels_last=False), (0, 0), 0, 0)
    assert "launch" not in [call[0] for call in driver.calls]


def test_kernels_may_use_the_shared_memory_that_their_launch_asks_for(driver: LaunchDriver) -> None:
    load_kernels(driver)
    raised = {call[1]: call[3] for call in driver.calls if call[0] == "shared"}
    assert raised == {name: 35_408 if "_f16_" in name else 87_552 for name in KERNELS}


def test_no_kernel_is_left_to_lazy_loading(driver: LaunchDriver) -> None:
    load_kernels(driver)
    assert {call[1] for call in driver.calls if call[0] == "loaded"} == set(KERNELS)


def not_in_the_driver(_: str) -> tuple[Status]:
    raise RuntimeError('Function "cuFuncLoad" not found')


@pytest.mark.parametrize(
    "function", [None, not_in_the_driver, lambda _: (Status.CUDA_ERROR_NOT_SUPPORTED,)], ids=["no", "old", "stub"]
)
def test_a_driver_that_cannot_load_a_function_now_is_good_enough(
    driver: LaunchDriver, monkeypatch: pytest.MonkeyPatch, function: Callable[[str], tuple[Status]] | None
) -> None:
    monkeypatch.setattr(driver, "cuFuncLoad", function, raising=False)
    assert set(load_kernels(driver).functions) == set(KERNELS)


def test_a_function_that_the_driver_cannot_load_is_an_error_before_any_launch(
    driver: LaunchDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "cuFuncLoad", lambda _: (Status.CUDA_ERROR_NO_BINARY_FOR_GPU,))
    with pytest.raises(DefianError, match="CUDA_ERROR_NO_BINARY_FOR_GPU"):
        load_kernels(driver)


def test_the_code_is_loaded_once_per_process(driver: LaunchDriver) -> None:
    load_kernels(driver)
    load_kernels(driver)
    assert [call[0] for call in driver.calls].count("library") == 1


def test_a_build_without_a_gpu_passes_the_shapes_and_enqueue_names_the_cause(
    trt: TensorRt, cpu_kernel: CpuKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "cuda_driver", lambda: LaunchDriver(cpu_kernel, context=False))
    plugin = plugin_class(trt)()
    plugin.on_shape_change([], [])
    with pytest.raises(DefianError, match="CUDA_ERROR_INVALID_CONTEXT"):
        plugin.enqueue([described((1, 5, 4, 4), "float32", "LINEAR")], [], [0, 0], [0], 0, 0)
