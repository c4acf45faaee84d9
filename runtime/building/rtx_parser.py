"""Cures the abort of TensorRT-RTX's ONNX parser on custom operators, without touching site-packages.

The parser opens ``libtensorrt_rtx.so`` by that name when it looks a plugin up; the wheel ships only
``libtensorrt_rtx.so.1``, and the exception that follows ends the process. The dynamic loader takes a library that
is already loaded under the wanted name (its SONAME), so loading a stub of that name first is enough. The stub is
an ELF file of a few hundred bytes without code, written here so that no compiler is needed; it depends on the real
library, so whoever looks for a symbol in it finds TensorRT's.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
import tempfile
from pathlib import Path

WANTED = "libtensorrt_rtx.so"
MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine of the ELF header

_HEADER_BYTES, _PROGRAM_HEADER_BYTES, _SYMBOL_BYTES = 64, 56, 24
_PROGRAM_HEADERS = 3
"""What is loaded, its dynamic section, and the stack, which need not be executable: without that word glibc takes it
that it must, and from 2.41 on refuses such a library."""
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_STACK = 1, 2, 0x6474E551
_READ_WRITE = 6  # the loader relocates the dynamic section in place
_NEEDED, _HASH, _STRTAB, _SYMTAB, _STRSZ, _SYMENT, _SONAME = 1, 4, 5, 6, 10, 11, 14
_PAGE = 0x10000


def let_parser_find_plugins() -> bool:
    """Make ``libtensorrt_rtx.so`` loadable in this process. Call it after ``import tensorrt_rtx``.

    Returns:
        Whether the name can be loaded now. False only on a system that is not Linux on x86-64 or ARM64.
    """
    if _loads(WANTED):
        return True
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        return False
    stub = stub_library(WANTED, _loaded_library(), MACHINES[platform.machine()])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WANTED
        path.write_bytes(stub)
        ctypes.CDLL(str(path))  # stays loaded for good; the file is needed no longer
    return _loads(WANTED)


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _loaded_library() -> str | None:
    """File name of the TensorRT-RTX library in this process, ``libtensorrt_rtx.so.1`` today."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        name = line.rpartition("/")[2]
        if name.startswith(f"{WANTED}."):
            return name
    return None


def stub_library(soname: str, needed: str | None, machine: int) -> bytes:
    """An ELF64 shared object with the given SONAME, one dependency at most, and no symbol of its own."""
    strings = b"\0" + soname.encode() + b"\0" + (needed or "").encode() + b"\0"
    symbols = b"\0" * _SYMBOL_BYTES
    hashes = struct.pack("<4I", 1, 1, 0, 0)  # one bucket, one chain, both end at once
    at_symbols = _HEADER_BYTES + _PROGRAM_HEADERS * _PROGRAM_HEADER_BYTES
    at_hashes = at_symbols + len(symbols)
    at_dynamic = at_hashes + len(hashes)
    entries = [
        (_SONAME, 1),
        (_HASH, at_hashes),
        (_SYMTAB, at_symbols),
        (_SYMENT, _SYMBOL_BYTES),
        (_STRSZ, len(strings)),
    ]
    if needed:
        entries.append((_NEEDED, 2 + len(soname)))
    at_strings = at_dynamic + 16 * (len(entries) + 2)
    entries += [(_STRTAB, at_strings), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    total = at_strings + len(strings)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + b"\0" * 9
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(identity, 3, machine, 1, 0, _HEADER_BYTES, 0, 0),
        *(_HEADER_BYTES, _PROGRAM_HEADER_BYTES, _PROGRAM_HEADERS, 64, 0, 0),
    )
    load = struct.pack("<IIQQQQQQ", _PT_LOAD, _READ_WRITE, 0, 0, 0, total, total, _PAGE)
    place = struct.pack("<IIQQQQQQ", _PT_DYNAMIC, _READ_WRITE, *(at_dynamic,) * 3, len(dynamic), len(dynamic), 8)
    stack = struct.pack("<IIQQQQQQ", _PT_GNU_STACK, _READ_WRITE, 0, 0, 0, 0, 0, 16)
    return header + load + place + stack + symbols + hashes + dynamic + strings
