"""Which TensorRT module runs a flavour of engine, and what it said."""

from __future__ import annotations

import importlib
import logging
import re
from collections import deque
from typing import TYPE_CHECKING, Any

from ..errors import DefianError, MissingPackageError

if TYPE_CHECKING:
    from types import ModuleType

LOGGER = logging.getLogger(__name__)

FLAVOURS = {"tensorrt": ("tensorrt", "gpu"), "tensorrt-rtx": ("tensorrt_rtx", "rtx")}
"""What builds and runs an engine: its name in manifests, then its Python module and the extra that installs it."""
KEPT_MESSAGES = 20
SHOWN_MESSAGES = 3

# What TensorRT says -> what it means. The first that matches a message of the failure is shown.
TRANSLATIONS = (
    (r"not compatible with this version|version tag|stdVersionRead", "The plan was built by another TensorRT version."),
    (r"does not support this compute capability", "TensorRT-RTX does not run on this GPU model at all."),
    (r"incompatible device|compute capability|different compute", "The plan was built for another GPU model."),
    (r"magicTag|deserialization.*(corrupt|magic)|header.*(invalid|size)", "The file is damaged or is no plan."),
    (r"(could not|cannot) find plugin|plugin.*not found|getCreator", "The engine holds a plugin that is not loaded."),
    (r"out of memory|OutOfMemory|requested amount of GPU memory", "The GPU has too little free memory."),
    (r"could not find any implementation", "No kernel fits: mostly too little workspace, or a shape off the profile."),
    (r"does not satisfy any optimization profile|profile.*(min|max)imum", "The shape is outside the engine's profile."),
    (r"CUDA initialization failure|no CUDA-capable device|insufficient.*driver", "There is no usable NVIDIA driver."),
)


def import_flavour(flavour: str, rebuild: str = "") -> ModuleType:
    """The ``tensorrt`` or ``tensorrt_rtx`` module.

    Args:
        flavour: as in the manifest: ``tensorrt`` or ``tensorrt-rtx``.
        rebuild: the command that builds the engine again, for the error.

    Raises:
        DefianError: the flavour is unknown, its package is missing, or its libraries do not load.
    """
    if flavour not in FLAVOURS:
        raise DefianError(
            f"Expected an engine of {' or '.join(FLAVOURS)}, found one whose manifest names {flavour!r}.",
            f"Rebuild the engine with this version's export.py: {rebuild}".removesuffix(": "),
        )
    return import_module(flavour, f"Running a {flavour} engine")


def import_module(flavour: str, purpose: str) -> ModuleType:
    """The Python module of a known flavour.

    Args:
        flavour: one of :data:`FLAVOURS`.
        purpose: what it is needed for, for the error.

    Raises:
        DefianError: its package is missing, or its libraries do not load.
    """
    name, extra = FLAVOURS[flavour]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPackageError(name, extra, purpose) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise DefianError(
            f"{name} is installed but does not load: {error}.", "Check the CUDA and TensorRT libraries of this machine."
        ) from error


class RuntimeLog:
    """Keeps TensorRT's last warnings and errors, so that a failure can be told in its own words."""

    def __init__(self, trt: ModuleType) -> None:
        self.messages: deque[tuple[bool, str]] = deque(maxlen=KEPT_MESSAGES)
        self.logger = _logger(trt, self.messages)

    def failure(self, doing: str, hint: str = "") -> DefianError:
        """The error for something TensorRT refused: what it means if that is known, and its last words.

        Its words are the errors since the failure before, or the warnings if there are none.
        """
        told = [(is_error, " ".join(text.split())) for is_error, text in self.messages]
        self.messages.clear()
        said = [text for is_error, text in told if is_error] or [text for _, text in told]
        known = next((meaning for pattern, meaning in TRANSLATIONS if _any_matches(pattern, said)), "")
        words = "; ".join(text[:300] for text in said[-SHOWN_MESSAGES:]) or "no message"
        return DefianError(" ".join(filter(None, (f"TensorRT failed at {doing}.", known, f"It said: {words}"))), hint)


def _any_matches(pattern: str, texts: list[str]) -> bool:
    return any(re.search(pattern, text, re.IGNORECASE) for text in texts)


def _logger(trt: ModuleType, messages: deque[tuple[bool, str]]) -> Any:  # noqa: ANN401
    errors = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)
    warning = trt.ILogger.Severity.WARNING

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:  # noqa: ANN401
            LOGGER.debug("TensorRT: %s", msg)
            if severity in errors or severity == warning:
                messages.append((severity in errors, msg))

    return Logger()
