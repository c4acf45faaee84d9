"""The stand-in driver's own controls, from inside a process that runs on it (see ``standin.py``)."""

from __future__ import annotations

import ctypes
import os

AVAILABLE = "DEFIAN_STAND_IN" in os.environ


class StandInDriver:
    """What tests ask of the driver and set on it. Counts are of live streams, events, graphs and memory blocks."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(os.environ["DEFIAN_STAND_IN"])
        names = ("live", "live_bytes", "live_memory", "allocations", "misuses", "pageable_copies")
        for name in (*names, "contexts", "depth", "lost"):
            getattr(self.library, f"standin_{name}").restype = ctypes.c_long
        self.library.standin_set_memory.argtypes = [ctypes.c_size_t]
        self.library.standin_fail_from.argtypes = [ctypes.c_long]

    def ask(self, name: str) -> int:
        """A counter by its name in the C source: ``live``, ``allocations``, ``misuses``, ``contexts``, ``depth``..."""
        return getattr(self.library, f"standin_{name}")()

    def fail_from(self, nth: int) -> None:
        """Fail the nth allocation from now and all after it; 0 for none."""
        self.library.standin_fail_from(nth)

    def set_memory(self, size: int) -> None:
        """The device's memory in bytes."""
        self.library.standin_set_memory(size)

    def set_capability(self, major: int, minor: int) -> None:
        """The device's compute capability."""
        self.library.standin_set_capability(major, minor)

    def push(self, context: int) -> None:
        """Make a context current, by its handle."""
        self.library.cuCtxPushCurrent_v2(ctypes.c_void_p(context))

    def pop(self) -> None:
        """Undo the last push."""
        self.library.cuCtxPopCurrent_v2(None)

    def reset(self) -> None:
        """Forget failures, counters and settings."""
        self.library.standin_reset_counters()
        self.set_memory(8 << 30)
        self.set_capability(8, 9)
