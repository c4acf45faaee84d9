"""The plugin made of the real base classes of TensorRT 10.3, 10.16, 11.4 and TensorRT-RTX, with no TensorRT behind."""

from __future__ import annotations

import json

import pytest

from tests.doubles.trt_bindings import RTX, VERSIONS, BindingsUnavailableError, run_with

INSTANTIATE = """
import gc, importlib, json, os, sys, types

trt = importlib.import_module(sys.argv[1])
from defian_edge.runtime.plugin.hessian_plugin import creator_class, features_of, format_is_supported

creator = creator_class(trt)()
plugin = creator.create_plugin("eig", trt.PluginFieldCollection([]), trt.TensorRTPhase.RUNTIME)
copies = [plugin.clone(), plugin.attach_to_context(None)]
capability = trt.PluginCapabilityType.CORE
gc.collect()

class Expressions:
    def constant(self, value):
        return trt.DimsExprs(4)[0]

def describe(kind, layout, dims):
    desc = trt.PluginTensorDesc()
    desc.type, desc.format, desc.dims = kind, layout, trt.Dims(dims)
    return desc

features = describe(trt.float16, trt.TensorFormat.HWC8, (2, 32, 5, 7))
asked = [types.SimpleNamespace(desc=features)]
shapes = plugin.get_output_shapes([trt.DimsExprs(4), trt.DimsExprs(3)], [], Expressions())
kernel = features_of(trt, features)
answer = {
    "creator": [creator.name, creator.plugin_namespace, creator.plugin_version, len(creator.field_names)],
    "plugins": [[each.plugin_name, each.plugin_namespace, each.plugin_version] for each in [plugin, *copies]],
    "others": len({id(each) for each in [plugin, *copies]}),
    "bases": all(
        isinstance(each, getattr(trt, name))
        for each in [plugin, *copies]
        for name in ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild", "IPluginV3OneRuntime")
    ),
    "itself": all(each.get_capability_interface(capability) is each for each in [plugin, *copies]),
    "serialised": len(plugin.get_fields_to_serialize()),
    "outputs": [plugin.num_outputs, [len(each) for each in shapes], type(shapes[0]).__name__],
    "supported": format_is_supported(trt, 0, asked),
    "kernel": [kernel.batch, kernel.channels, kernel.height, kernel.width, kernel.fp16, kernel.channels_last],
}
print(json.dumps(answer), flush=True)
os._exit(0)
"""
IDENTITY = ["MaxHessianEigenvalue", "defian", "1"]


@pytest.mark.parametrize("version", [*VERSIONS, RTX])
def test_plugin_and_creator_are_made_and_cloned_on_the_real_base_classes(version: str) -> None:
    if version == RTX:
        pytest.importorskip(RTX, reason="tensorrt-rtx is not installed")
    try:
        done = run_with(version, INSTANTIATE)
    except BindingsUnavailableError as error:
        pytest.skip(f"TensorRT's bindings are not available here: {error}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "creator": [*IDENTITY, 0],
        "plugins": [IDENTITY] * 3,
        "others": 3,
        "bases": True,
        "itself": True,
        "serialised": 0,
        "outputs": [1, [4], "DimsExprs"],
        "supported": True,
        "kernel": [2, 32, 5, 7, True, True],
    }
