"""TIFF files of any depth, white, order of bytes and orientation, which Pillow does not write."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path


def tiff(
    path: Path, values: np.ndarray, bits: int, photometric: int = 1, order: str = "<", orientation: int = 1
) -> Path:
    """Write a TIFF without compression, its samples packed as the specification says."""
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    if bits in (8, 16):
        data = values.astype(f"{order}u{bits // 8}").tobytes()
    else:
        rows = values.reshape(height, -1)
        bit_rows = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1
        data = b"".join(np.packbits(row.astype(np.uint8).ravel()).tobytes() for row in bit_rows)
    entries = [
        (256, 4, [width]),
        (257, 4, [height]),
        (258, 3, [bits] * channels),
        (259, 3, [1]),
        (262, 3, [photometric]),
    ]
    entries += [(273, 4, [0]), (274, 3, [orientation]), (277, 3, [channels]), (278, 4, [height]), (279, 4, [len(data)])]
    place = 8 + 2 + 12 * len(entries) + 4
    extra, table = b"", b""
    for tag, kind, numbers in entries:
        packed = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if tag == 273:
            packed = struct.pack(f"{order}I", place + 2 * channels * (channels > 2))
        if len(packed) > 4:
            extra += packed
            packed = struct.pack(f"{order}I", place)
        table += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    path.write_bytes(start + table + bytes(4) + extra + data)
    return path
