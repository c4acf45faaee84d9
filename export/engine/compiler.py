"""TensorRT and TensorRT-RTX behind one door: which module, which log, which errors."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.arguments import shown
from defian_edge.runtime.engine.trt_import import FLAVOURS, import_module
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from types import ModuleType

LOGGER = logging.getLogger(__name__)


class Target(str, Enum):
    """Where an export goes: stop at ``onnx``, ``tensorrt`` on this device, or ``tensorrt-rtx`` ahead of time."""

    ONNX = "onnx"
    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"


ANY, CURRENT = "any", "current"
"""For TensorRT-RTX beside a number: every capability that it supports, and the GPU of this machine."""


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


def compute_capability(trt: ModuleType, sm: int) -> tuple[int, int]:
    """``89`` -> (8, 9), checked against what the compiler can target.

    Raises:
        DefianError: TensorRT-RTX does not build for it.
    """
    known = targets(trt)
    if sm not in known:
        raise DefianError(
            f"TensorRT-RTX {trt.__version__} cannot target sm_{sm}: expected one of {', '.join(map(str, known))}.",
            "Orin (sm_87) needs --target tensorrt, run on the device.",
        )
    return divmod(sm, 10)


def targets(trt: ModuleType) -> list[int]:
    """The compute capabilities that TensorRT-RTX builds for, such as 89, in their order."""
    found = (re.fullmatch(r"SM(\d+)", name) for name in dir(trt.ComputeCapability))
    return sorted(int(match.group(1)) for match in found if match is not None)


def require_supported(trt: ModuleType, capability: tuple[int, int]) -> None:
    """Refuse a GPU on which TensorRT-RTX loads no engine, whatever it was built for: one between its targets.

    On an H100 (9.0) TensorRT-RTX 1.7.1 builds for the current GPU without a word, and then refuses to load it:
    "Supported compute capabilities: 8.0 8.6 8.9 12.0 12.1 >12.0" (docs/gpu.md).

    Args:
        trt: the ``tensorrt_rtx`` module.
        capability: of the GPU, such as (9, 0).

    Raises:
        DefianError: it is none of the targets, and not newer than all of them.
    """
    known, found = targets(trt), 10 * capability[0] + capability[1]
    if found in known or found > max(known):
        return
    raise DefianError(
        f"TensorRT-RTX {trt.__version__} does not run on this GPU of compute capability "
        f"{capability[0]}.{capability[1]}: expected one of {', '.join(f'{each // 10}.{each % 10}' for each in known)}, "
        "or a newer one.",
        "Use --target tensorrt, or run the graph: python -m runtime ... --provider cuda.",
    )


class CompilerLog:
    """What the compiler said: the last complaints for error messages, the memory figures for reports."""

    def __init__(self, trt: ModuleType) -> None:
        self.messages: list[tuple[Any, str]] = []
        self._trt = trt
        self.logger = _logger(trt, self.messages)

    def complaints(self, most: int = 3) -> str:
        """The last errors, or warnings if there are none, shortened to be read."""
        severity = self._trt.ILogger.Severity
        errors = [text for level, text in self.messages if level in (severity.ERROR, severity.INTERNAL_ERROR)]
        chosen = errors or [text for level, text in self.messages if level == severity.WARNING]
        # A machine without a driver makes every object complain about that; it is not the cause of a failed build.
        useful = [text for text in chosen if "CUDA driver" not in text] or chosen
        return "; ".join(" ".join(text.split())[:300] for text in useful[-most:]) or "no message"

    def figure(self, label: str) -> int | None:
        """The last ``<label>: <number> bytes`` of the log, in bytes."""
        pattern = re.compile(re.escape(label) + r":\s*(\d+)")
        found = [int(match.group(1)) for _, text in self.messages if (match := pattern.search(text)) is not None]
        return found[-1] if found else None


def _logger(trt: ModuleType, messages: list[tuple[Any, str]]) -> Any:  # noqa: ANN401
    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401
            LOGGER.debug("TensorRT: %s", msg)
            messages.append((severity, msg))

    return Logger()
