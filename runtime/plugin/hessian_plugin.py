"""``MaxHessianEigenvalue`` as a TensorRT plugin: IPluginV3 in Python, for tensorrt 10.3 and later and tensorrt_rtx.

The base classes belong to the TensorRT module in use, so the classes are made for a module when it is known.
The plugin has no attributes and no state: shapes come from TensorRT, the biases are an input of the node.
"""

from __future__ import annotations

import functools
from typing import Any

from ..errors import DefianError
from .device import Kernels, load_kernels
from .launch import CHANNELS_LAST_MULTIPLE, Features

PLUGIN_NAME = "MaxHessianEigenvalue"
PLUGIN_NAMESPACE = "defian"
PLUGIN_VERSION = "1"
MAPS = 3


def format_is_supported(trt: Any, position: int, in_out: Any) -> bool:  # noqa: ANN401 - a TensorRT module
    """Whether tensor ``position`` (0 features, 1 bias, 2 maps) may have its type and format, given those before it.

    Features: FP32 or FP16, linear; FP16 HWC8; FP32 HWC where C is a multiple of 8, which is then HWC8's layout.
    Bias: FP32, linear. Maps: the features' type, linear.
    """
    features, here = in_out[0].desc, in_out[position].desc
    if position == 0:
        offered = [(trt.float32, trt.TensorFormat.LINEAR), (trt.float16, trt.TensorFormat.LINEAR)]
        offered.append((trt.float16, trt.TensorFormat.HWC8))
        if features.dims[1] > 0 and features.dims[1] % CHANNELS_LAST_MULTIPLE == 0:
            offered.append((trt.float32, trt.TensorFormat.HWC))
        return (here.type, here.format) in offered
    expected = trt.float32 if position == 1 else features.type
    return here.type == expected and here.format == trt.TensorFormat.LINEAR


def features_of(trt: Any, described: Any) -> Features:  # noqa: ANN401
    """The kernel's view of a PluginTensorDesc with all dimensions known."""
    batch, channels, height, width = described.dims
    return Features(
        batch=batch,
        channels=channels,
        height=height,
        width=width,
        fp16=described.type == trt.float16,
        channels_last=described.format != trt.TensorFormat.LINEAR,
    )


class Behaviour:
    """What the plugin answers and does. TensorRT finds these methods by their names, and passes some by keyword."""

    def __init__(self, trt: Any) -> None:  # noqa: ANN401
        self.trt = trt
        self.plugin_name = PLUGIN_NAME
        self.plugin_namespace = PLUGIN_NAMESPACE
        self.plugin_version = PLUGIN_VERSION
        self.num_outputs = 1
        self.nothing_to_serialize = trt.PluginFieldCollection([])
        self.kernels: Kernels | None = None

    def get_capability_interface(self, type: Any) -> Any:  # noqa: A002, ANN401, ARG002 - TensorRT's name
        return self

    def clone(self) -> Any:  # noqa: ANN401
        copy = plugin_class(self.trt)()
        copy.__dict__.update(self.__dict__)
        return copy

    def get_output_data_types(self, input_types: Any) -> list[Any]:  # noqa: ANN401
        return [input_types[0]]

    def get_output_shapes(self, inputs: Any, shape_inputs: Any, exprBuilder: Any) -> list[Any]:  # noqa: ANN401, ARG002, N803
        features = inputs[0]
        maps = self.trt.DimsExprs(4)
        maps[0], maps[2], maps[3] = features[0], features[2], features[3]
        maps[1] = exprBuilder.constant(MAPS)
        return [maps]

    def supports_format_combination(self, pos: int, in_out: Any, num_inputs: int) -> bool:  # noqa: ANN401, ARG002
        return format_is_supported(self.trt, pos, in_out)

    def configure_plugin(self, inp: Any, out: Any) -> None:  # noqa: ANN401
        """Nothing depends on the shapes before they are known."""

    def get_workspace_size(self, input_desc: Any, output_desc: Any) -> int:  # noqa: ANN401, ARG002
        return 0

    def get_fields_to_serialize(self) -> Any:  # noqa: ANN401
        return self.nothing_to_serialize

    def attach_to_context(self, resource_context: Any) -> Any:  # noqa: ANN401, ARG002
        return self.clone()

    def set_tactic(self, tactic: int) -> None:
        """There is one."""

    def on_shape_change(self, inp: Any, out: Any) -> None:  # noqa: ANN401, ARG002
        """Load the kernels before the first enqueue, which may be under graph capture.

        A build without a GPU may come here as well, so a failure is left for enqueue to report.
        """
        if self.kernels is None:
            try:
                self.kernels = load_kernels()
            except (DefianError, RuntimeError):
                return

    def enqueue(
        self,
        input_desc: Any,  # noqa: ANN401
        output_desc: Any,  # noqa: ANN401, ARG002
        inputs: Any,  # noqa: ANN401
        outputs: Any,  # noqa: ANN401
        workspace: int,  # noqa: ARG002
        stream: int,
    ) -> None:
        if self.kernels is None:
            self.kernels = load_kernels()
        self.kernels.launch(features_of(self.trt, input_desc[0]), (inputs[0], inputs[1]), outputs[0], stream)


@functools.cache
def plugin_class(trt: Any) -> type:  # noqa: ANN401
    """The IPluginV3 class for a TensorRT module."""
    bases = (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime)

    class MaxHessianEigenvalue(Behaviour, *bases):
        """features [N, C, H, W], bias [3, 3, C] -> maps [N, 3, H, W]."""

        def __init__(self) -> None:
            for base in bases:
                base.__init__(self)
            super().__init__(trt)

    return MaxHessianEigenvalue


@functools.cache
def creator_class(trt: Any) -> type:  # noqa: ANN401
    """The IPluginCreatorV3One class for a TensorRT module."""
    plugin = plugin_class(trt)

    class MaxHessianEigenvalueCreator(trt.IPluginCreatorV3One):
        """Makes the plugin for the ONNX parser and for an engine that is loaded."""

        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name = PLUGIN_NAME
            self.plugin_namespace = PLUGIN_NAMESPACE
            self.plugin_version = PLUGIN_VERSION
            self.field_names = trt.PluginFieldCollection([])

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:  # noqa: ANN401, ARG002
            return plugin()

    return MaxHessianEigenvalueCreator
