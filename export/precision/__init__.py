"""Precisions of one graph: FP32 as rewritten, FP16 and BF16 by typing it, INT8 by Q/DQ on top of FP16."""

from __future__ import annotations

from enum import Enum


class Precision(str, Enum):
    """Precision of a variant; INT8 means INT8 residual-block convolutions in a FP16 graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
