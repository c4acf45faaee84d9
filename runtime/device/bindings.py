"""NVIDIA's cuda-bindings, which is needed for what pycuda cannot do."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MissingPackageError


def cuda_bindings(purpose: str) -> Any:  # noqa: ANN401 - an optional package
    """cuda-bindings' driver module.

    Args:
        purpose: what it is needed for, for the error.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise MissingPackageError("cuda-bindings", "device", purpose) from error
