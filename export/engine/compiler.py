"""TensorRT and TensorRT-RTX behind one door: which of them an export is for, and for which GPUs."""

from __future__ import annotations

import importlib.util
import os
import sys
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
    """The ``tensorrt`` or ``tensorrt_rtx`` module, with Polygraphy set to the same flavour.

    Raises:
        DefianError: the package is missing or its libraries do not load, or this process has already used
            the other flavour (Polygraphy can serve only one per process).
    """
    flavour = "1" if target is Target.TENSORRT_RTX else "0"
    if "polygraphy.config" in sys.modules and os.environ.get("POLYGRAPHY_USE_TENSORRT_RTX", "0") != flavour:
        raise DefianError(
            f"This process has already used the other flavour of TensorRT; {target.value} needs a process of its own."
        )
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = flavour
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
