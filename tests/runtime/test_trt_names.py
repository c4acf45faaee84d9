"""Every name that runtime/ asks of a TensorRT module is in the real bindings of 10.3, 10.16, 11.4 and tensorrt_rtx."""

from __future__ import annotations

import ast
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.doubles.trt_bindings import VERSIONS, BindingsUnavailableError, missing_names, names_used

if TYPE_CHECKING:
    from types import ModuleType

ENGINE = Path(__file__).resolve().parents[2] / "runtime" / "engine"
FIELDS = {
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "_config": "IRuntimeConfig",
    "_cache": "IRuntimeCache",
}
"""What the fields in the files that talk to TensorRT hold."""
PLUGIN = Path(__file__).resolve().parents[2] / "runtime" / "plugin"
# What is reached through an object, which a reader of the source text cannot follow, and what the plugin overrides.
THROUGH_OBJECTS = {
    "IPluginRegistry": ("all_creators", "register_creator"),
    "IPluginCreatorV3One": ("name", "plugin_namespace", "plugin_version", "field_names", "create_plugin"),
    "IPluginV3": ("get_capability_interface", "clone"),
    "IPluginV3OneCore": ("plugin_name", "plugin_namespace", "plugin_version"),
    "IPluginV3OneBuild": (
        *("num_outputs", "get_output_data_types", "get_output_shapes", "get_workspace_size"),
        *("supports_format_combination", "configure_plugin"),
    ),
    "IPluginV3OneRuntime": ("on_shape_change", "set_tactic", "get_fields_to_serialize", "enqueue", "attach_to_context"),
    "PluginTensorDesc": ("dims", "type", "format"),
    "DynamicPluginTensorDesc": ("desc",),
    "IExprBuilder": ("constant",),
    "DimsExprs": ("__setitem__", "__getitem__"),
}


def missing_or_skip(version: str, names: set[str]) -> list[str]:
    try:
        return missing_names(version, names)
    except BindingsUnavailableError as error:
        pytest.skip(f"TensorRT {version}'s bindings are not available here: {error}")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_the_plugin_uses_exists(version: str) -> None:
    names = names_used([PLUGIN])
    assert {"IPluginV3OneRuntime", "TensorFormat.HWC8", "PluginFieldCollection"} <= names
    names |= {f"{owner}.{member}" for owner, members in THROUGH_OBJECTS.items() for member in members}
    assert missing_or_skip(version, names) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_that_does_not_exist_is_found(version: str) -> None:
    names = {"TensorFormat.HWC8", "TensorFormat.HWC9", "NoSuchClass.member"}
    assert missing_or_skip(version, names) == ["NoSuchClass.member", "TensorFormat.HWC9"]


def test_implicit_precision_is_gone_from_tensorrt_11() -> None:
    names = {"BuilderFlag.FP16", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"}
    assert missing_or_skip("10.3.0", names) == []
    assert missing_or_skip("11.4.0.106", names) == ["BuilderFlag.FP16"]


def test_names_are_read_through_aliases_attributes_and_calls(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        "trt.A.b\nself.trt.C\nself._trt.D(1).e\ntensorrt_rtx.F.g.h\nother.trt2.I\ntrt.__version__\nnumpy.J\n"
    )
    assert names_used([tmp_path]) == {"A.b", "C", "D", "F.g.h"}


def through_fields(file: Path) -> set[str]:
    """``ICudaEngine.get_tensor_name`` for ``self._engine.get_tensor_name``, and so on."""
    return {
        f"{FIELDS[node.value.attr]}.{node.attr}"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr in FIELDS
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_an_engine_session_uses_exists(version: str) -> None:
    names = names_used([ENGINE / "module.py", ENGINE / "loaded.py", ENGINE / "session.py"])
    names |= through_fields(ENGINE / "loaded.py")
    assert {"IExecutionContext.execute_async_v3", "ExecutionContextAllocationStrategy.USER_MANAGED"} <= names
    assert {"ICudaEngine.device_memory_size_v2", "Runtime.deserialize_cuda_engine", "TensorIOMode.INPUT"} <= names
    assert missing_or_skip(version, names) == []


def test_every_name_that_an_rtx_session_uses_exists() -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    names = names_used([ENGINE]) | through_fields(ENGINE / "loaded.py") | through_fields(ENGINE / "rtx.py")
    assert {"IRuntimeConfig.cuda_graph_strategy", "IRuntimeCache.deserialize"} <= names
    assert [name for name in sorted(names) if not has(rtx, name)] == []
    assert not has(rtx, "IRuntimeConfig.no_such_thing")


def has(module: ModuleType, name: str) -> bool:
    """Whether the module has a dotted name."""
    try:
        reduce(getattr, name.split("."), module)
    except AttributeError:
        return False
    return True
