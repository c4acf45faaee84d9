"""The stand-in driver's own controls, from inside a process that runs on it (see ``standin.py``)."""

from __future__ import annotations

import ctypes
import os

ALL = 2**62
CUDA_ERROR_ILLEGAL_ADDRESS = 700
AVAILABLE = "DEFIAN_STAND_IN" in os.environ


class StandInDriver:
    """What tests ask of the driver and set on it. Counts are of live streams, events, graphs and memory blocks."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(os.environ["DEFIAN_STAND_IN"])
        names = ("live", "live_bytes", "live_memory", "allocations", "misuses", "pageable_copies")
        for name in (*names, "contexts", "depth", "lost", "clock", "blocking_streams"):
            getattr(self.library, f"standin_{name}").restype = ctypes.c_long
        self.library.standin_set_memory.argtypes = [ctypes.c_size_t]
        self.library.standin_fail.argtypes = [ctypes.c_long, ctypes.c_long]
        self.library.standin_set_times.argtypes = [ctypes.c_long, ctypes.c_long]

    def ask(self, name: str) -> int:
        """A counter by its name in the C source: ``live``, ``allocations``, ``misuses``, ``contexts``, ``depth``..."""
        return getattr(self.library, f"standin_{name}")()

    def fail(self, nth: int, count: int = ALL) -> None:
        """Fail the nth allocation from now and so many from it on; 0 for none."""
        self.library.standin_fail(nth, count)

    def break_down(self) -> None:
        """From now on every wait answers that a kernel made an illegal access, as a GPU does until its reset."""
        self.library.standin_break(CUDA_ERROR_ILLEGAL_ADDRESS)

    def set_times(self, copy: int, work: int) -> None:
        """Virtual time that a copy and a host function take; ``ask("clock")`` is then what the host has waited for."""
        self.library.standin_set_times(copy, work)

    def set_integrated(self, *, integrated: bool) -> None:
        """Whether the GPU shares the system's memory."""
        self.library.standin_set_integrated(integrated)

    def set_memory(self, size: int) -> None:
        """The device's memory in bytes."""
        self.library.standin_set_memory(size)

    def set_capability(self, major: int, minor: int) -> None:
        """The device's compute capability."""
        self.library.standin_set_capability(major, minor)

    def set_uuid(self, byte: int) -> None:
        """The device's UUID: sixteen times this byte."""
        self.library.standin_set_uuid(byte)

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
        self.set_times(0, 0)
        self.set_integrated(integrated=False)
        self.set_uuid(1)
        self.library.standin_break(0)
