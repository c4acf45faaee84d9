"""What may lie beside the weights in a pickled checkpoint: values that make nothing but themselves."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

try:
    from numpy._core.multiarray import scalar  # numpy 2
except ImportError:
    from numpy.core.multiarray import scalar  # type: ignore[no-redef]

_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")

SAFE_GLOBALS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    (scalar, "numpy.core.multiarray.scalar"),
    (scalar, "numpy._core.multiarray.scalar"),
    *(type(np.dtype(name)) for name in _NUMBERS),
]
"""The options of the training program, and its figures as numpy scalars: PSNR, loss, epoch."""
