"""What the compiler says while it builds, and what TensorRT-RTX can build for."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from ..errors import DefianError

if TYPE_CHECKING:
    from types import ModuleType

LOGGER = logging.getLogger(__name__)

ANY, CURRENT = "any", "current"
"""For TensorRT-RTX beside a number: every capability that it supports, and the GPU of this machine."""


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
