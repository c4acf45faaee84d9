"""ONNX Runtime, with its telemetry off: the one place that imports it.

From 1.32 on, official builds write a device identifier and events below the user's cache, and look up a host to send
them to, unless ``ORT_DISABLE_TELEMETRY`` is set before the library is loaded (its ``Privacy.md``, "Disabling
Telemetry"). Child processes inherit the variable.
"""

from __future__ import annotations

import os
from typing import Any

from .errors import MissingPackageError

TELEMETRY_OFF = "ORT_DISABLE_TELEMETRY"
os.environ[TELEMETRY_OFF] = "1"


def import_onnxruntime(purpose: str = "Running a graph") -> Any:  # noqa: ANN401 - an optional package
    """The ``onnxruntime`` module.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingPackageError("onnxruntime", "cpu", purpose) from error
    return onnxruntime
