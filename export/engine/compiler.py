"""TensorRT and TensorRT-RTX behind one door: which of them an export is for, and for which GPUs."""

from __future__ import annotations

import importlib.util
from enum import Enum
from typing import TYPE_CHECKING

from defian_edge.runtime.arguments import shown
from defian_edge.runtime.building.compiler import ANY, CURRENT
from defian_edge.runtime.engine.trt_import import FLAVOURS, import_module
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from types import ModuleType


class Target(str, Enum):
    """Where an export goes: stop at ``onnx``, ``tensorrt`` on this device, or ``tensorrt-rtx`` ahead of time."""

    ONNX = "onnx"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


def is_available(target: Target) -> bool:
    """Whether the target's Python module can be imported here."""
    name, _ = FLAVOURS[target.value]
    return importlib.util.find_spec(name) is not None


def import_tensorrt(target: Target) -> ModuleType:
    """The ``tensorrt`` or ``tensorrt_rtx`` module.

    Raises:
        DefianError: the package is missing, or its libraries do not load.
    """
    return import_module(target.value, f"--target {target.value}")


def parse_sm(text: str) -> int | str:
    """What ``--sm`` names.

    Raises:
        DefianError: neither a number nor one of the two words.
    """
    if text in (ANY, CURRENT):
        return text
    if text.isascii() and text.isdigit() and len(text) <= 4:
        return int(text)
    raise DefianError(f"--sm {shown(text)}: expected a compute capability such as 89, {CURRENT!r} or {ANY!r}.")
