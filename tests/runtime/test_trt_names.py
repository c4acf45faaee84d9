"""Every name that runtime/ and export/ ask of TensorRT is in the real bindings of 10.3, 10.16, 11.4 and of RTX."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.doubles.trt_bindings import RTX, VERSIONS, BindingsUnavailableError, members, missing_names
from tests.doubles.trt_names import EITHER, names_used, python_files, unexplained

ENGINE = REPOSITORY / "runtime" / "engine"
ROOMS = [REPOSITORY / "runtime", REPOSITORY / "export"]
RTX_ONLY = {
    "ComputeCapability",
    *("CudaGraphStrategy.DISABLED", "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE", "IRuntimeConfig.cuda_graph_strategy"),
    *("ComputeCapability.CURRENT", "IBuilderConfig.num_compute_capabilities", "IBuilderConfig.set_compute_capability"),
    *("ICudaEngine.create_runtime_config", "IRuntimeConfig.create_runtime_cache", "IRuntimeConfig.set_runtime_cache"),
    *("IRuntimeCache.deserialize", "IRuntimeCache.serialize"),
}
"""Used for TensorRT-RTX's engines alone."""
ASSIGNED = {"IBuilderConfig.profiling_verbosity"}
"""What is set to a name of TensorRT's own, which the reader takes for that name."""
COMMON = {
    *("append", "clear", "clone", "count", "dtype", "engine", "enqueue", "extend", "file", "format", "kernel"),
    *("logger", "message", "name", "node", "parse", "plugin", "pop", "precision", "remove", "scale", "shape"),
    *("start", "type", "update", "value", "write"),
}
"""Members of TensorRT's classes by chance: other objects have them in our code."""


def skip_where_unavailable(function):
    """Skip where a version's bindings cannot be had; the gate counts that as a failure (``conftest.py``)."""

    @functools.wraps(function)
    def wrapped(*arguments, **named):
        try:
            return function(*arguments, **named)
        except BindingsUnavailableError as error:
            pytest.skip(f"TensorRT's bindings are not available here: {error}")

    return wrapped


@pytest.mark.parametrize("version", [*VERSIONS, RTX])
@skip_where_unavailable
def test_every_name_that_our_code_uses_exists(version):
    names = names_used(ROOMS) | ASSIGNED
    assert names >= RTX_ONLY
    assert missing_names(version, names if version == RTX else names - RTX_ONLY) == []


def test_the_names_are_found_in_the_source():
    names = names_used(ROOMS)
    assert len(names) > 70
    assert {"IExecutionContext.execute_async_v3", "ExecutionContextAllocationStrategy.USER_MANAGED"} <= names
    assert {"ICudaEngine.device_memory_size_v2", "Runtime.deserialize_cuda_engine", "TensorIOMode.INPUT"} <= names
    assert {"TensorFormat.HWC8", "PluginTensorDesc.dims", "IPluginCreatorV3One.create_plugin"} <= names
    assert {"NetworkDefinitionCreationFlag.STRONGLY_TYPED", "LayerType.PLUGIN_V3", "OnnxParser.parse"} <= names
    assert {"IBuilderConfig.set_memory_pool_limit", "IOptimizationProfile.set_shape", "ITensor.name"} <= names
    assert {"IProgressMonitor.step_complete", "ILogger.Severity.INTERNAL_ERROR", "ParserError.desc"} <= names
    assert any(EITHER in name and name.endswith(".enqueue") for name in names)


@skip_where_unavailable
def test_no_attribute_that_looks_like_tensorrts_is_left_out():
    everything = set().union(*(members(version) for version in (*VERSIONS, RTX)))
    talking = [file for file in python_files([REPOSITORY / "export"]) if names_used([file])]
    assert {"build.py", "progress.py"} == {file.name for file in talking}
    ours = [ENGINE, ENGINE.with_name("plugin"), ENGINE.with_name("building"), *talking]
    assert unexplained(ours, everything, COMMON) == {}


RENAMED = {
    "runtime/engine/trt_engine.py": ("set_tensor_address", "num_io_tensors", "device_memory_size_v2", "USER_MANAGED"),
    "runtime/engine/trt_import.py": ("INTERNAL_ERROR", "Severity", "def log"),
    "runtime/plugin/hessian_plugin.py": ("HWC8", "def enqueue", "field_names", "dims", "plugin_namespace"),
    "runtime/plugin/registration.py": ("register_creator", "all_creators", "get_plugin_registry"),
    "runtime/building/build.py": (
        *("OnnxParser", "num_errors", "create_network", "STRONGLY_TYPED", "WORKSPACE", "PLUGIN_V3", "get_layer"),
        *("set_memory_pool_limit", "add_optimization_profile", "set_shape", "build_serialized_network", "TF32"),
        *("builder_optimization_level", "get_input"),
    ),
    "runtime/building/compiler.py": ("WARNING", "def log"),
    "export/engine/build.py": ("WORKSPACE",),
    "export/engine/progress.py": ("def step_complete", "IProgressMonitor"),
}
"""Names in our source that are changed below, as if they had been mistyped or had gone."""


@skip_where_unavailable
def test_a_name_that_does_not_exist_is_found_wherever_it_is(tmp_path):
    wrong: set[str] = set()
    for file, names in RENAMED.items():
        text = (REPOSITORY / file).read_text()
        for name in names:
            assert name in text
            changed = tmp_path / name.replace(" ", "-") / Path(file).name
            changed.parent.mkdir(exist_ok=True)
            changed.write_text(text.replace(name, f"{name}_gone"))
            found = {each for each in names_used([changed]) if "_gone" in each}
            assert found, f"{name} of {file} is not followed"
            wrong |= found
    assert set(missing_names("10.16.1.11", wrong)) == wrong


@skip_where_unavailable
def test_implicit_precision_is_gone_from_tensorrt_11():
    names = {"BuilderFlag.FP16", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"}
    assert missing_names("10.3.0", names) == []
    assert missing_names("11.4.0.106", names) == ["BuilderFlag.FP16"]


def test_names_are_followed_through_aliases_attributes_calls_and_loops(tmp_path):
    source = tmp_path / "source.py"
    source.write_text(
        "trt.A.b\nself.trt.C\nself._trt.D(1).e\ntensorrt_rtx.F.g.h\nother.trt2.I\ntrt.__version__\nnumpy.J\n"
        "kinds = trt.K\nkinds.l\nself._runtime = trt.Runtime(log)\n"
        "for each in trt.get_plugin_registry().all_creators:\n    each.m\n"
        "def f(self):\n    engine = self._runtime.deserialize_cuda_engine(plan)\n    engine.n\n"
        "class P(trt.Base):\n    def o(self): self.p = 1\n    def _q(self): ...\n"
    )
    expected = {"A.b", "C", "D.e", "F.g.h", "K.l", "IPluginRegistry.all_creators", "IPluginCreatorV3One.m"}
    expected |= {"get_plugin_registry", "Runtime.deserialize_cuda_engine", "ICudaEngine.n", "Base.o", "Base.p"}
    assert names_used([tmp_path]) == expected
    assert python_files([tmp_path]) == [source]
    assert unexplained([tmp_path], {"I", "J", "b"}, {"J"}) == {"source.py": {"other.trt2.I"}}
