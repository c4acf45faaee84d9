"""The device's primary context, shared with PyTorch and whoever else is in the process, and held by one thread."""

from __future__ import annotations

import ctypes
import re
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DefianError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBI = 1 << 20
MEMINFO = Path("/proc/meminfo")


def import_pycuda() -> Any:  # noqa: ANN401 - an optional package
    """The ``pycuda.driver`` module, initialised.

    Raises:
        DefianError: pycuda is missing, there is no NVIDIA driver, or no device that it can use.
    """
    try:
        import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise MissingPackageError("pycuda", "device", "Running an engine") from error
    except ImportError as error:
        raise DefianError(
            f"pycuda cannot load the NVIDIA driver: {error}.", "Install the driver; nvidia-smi must list the GPU."
        ) from error
    try:
        cuda.init()
        count = cuda.Device.count()
    except cuda.Error as error:
        raise DefianError(f"The CUDA driver does not start: {error}.", "nvidia-smi must list the GPU.") from error
    if count < 1:
        raise DefianError("The CUDA driver finds no GPU.", "Check CUDA_VISIBLE_DEVICES and nvidia-smi.")
    return cuda


@contextmanager
def driver_errors(cuda: Any, doing: str) -> Iterator[None]:  # noqa: ANN401
    """Turn pycuda's errors into a DefianError that says what was being done."""
    try:
        yield
    except cuda.MemoryError as error:
        raise DefianError(
            f"The GPU has no memory left for {doing} ({error}).",
            "Close other programs on the GPU, use smaller tiles or batches, or build the engine for a smaller profile.",
        ) from error
    except cuda.Error as error:
        raise DefianError(
            f"The CUDA driver failed at {doing}: {error}.", "nvidia-smi shows the GPU's state."
        ) from error


def available_system_memory(meminfo: Path = MEMINFO) -> int:
    """Bytes that programs can still have, file cache included: Linux's MemAvailable; 0 where it is not told."""
    return _told_by("MemAvailable", meminfo)


def total_system_memory(meminfo: Path = MEMINFO) -> int:
    """Bytes of memory that the kernel manages: Linux's MemTotal; 0 where it is not told."""
    return _told_by("MemTotal", meminfo)


def _told_by(name: str, meminfo: Path) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB$", meminfo.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return 0
    return int(found.group(1)) << 10 if found else 0


def device_uuid(ordinal: int) -> str:
    """The UUID of a GPU, or of the MIG part of one, as 32 hex digits; empty where the driver tells none.

    pycuda has no call for it.
    """
    library = ctypes.CDLL("libcuda.so.1")
    function = getattr(library, "cuDeviceGetUuid_v2", None) or getattr(library, "cuDeviceGetUuid", None)
    device, uuid = ctypes.c_int(), ctypes.create_string_buffer(16)
    if function is None or library.cuDeviceGet(ctypes.byref(device), ordinal) != 0:
        return ""
    return uuid.raw.hex() if function(uuid, device) == 0 else ""


def kernel_driver(version: Path = Path("/proc/driver/nvidia/version")) -> str:
    """What the kernel's NVIDIA driver says of itself, with its version; empty where it says nothing."""
    try:
        return version.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        return ""


class DeviceContext:
    """A reference to the primary context of one GPU.

    It is current only inside ``with context.current()``, so that nobody else's context is ever in the way.

    Attributes:
        cuda: the ``pycuda.driver`` module.
        name: the GPU's name.
        capability: its compute capability, such as ``(8, 7)``.

    Raises:
        DefianError: there is no usable GPU.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self.cuda = import_pycuda()
        self._ordinal = ordinal
        self._thread = threading.current_thread()
        with driver_errors(self.cuda, f"opening GPU {ordinal}"):
            device = self.cuda.Device(ordinal)
            self.name: str = device.name()
            self.capability: tuple[int, int] = device.compute_capability()
            self._integrated = bool(device.get_attribute(self.cuda.device_attribute.INTEGRATED))
            self._context: Any = device.retain_primary_context()

    def require_thread(self) -> None:
        """Refuse a call from another thread than the one that opened the session.

        Raises:
            DefianError: it is another thread.
        """
        if not self.is_mine:
            raise DefianError(
                f"This session belongs to the thread {self._thread.name!r} and was called from "
                f"{threading.current_thread().name!r}.",
                "Open a session of its own in each thread; they share the GPU's primary context.",
            )

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context current, and give back the one before at the end.

        Raises:
            DefianError: the session is closed, or it is another thread's.
        """
        if self._context is None:
            raise DefianError("This session is closed.", "Open it again with open_session().")
        self.require_thread()
        self._context.push()
        try:
            yield
        finally:
            self.cuda.Context.pop()

    @property
    def is_mine(self) -> bool:
        """Whether this is the thread that it belongs to."""
        return threading.current_thread() is self._thread

    @property
    def is_closed(self) -> bool:
        """Whether the context has been released."""
        return self._context is None

    def identity(self) -> dict[str, str]:
        """Which GPU this is, and what drives it: name, UUID, CUDA driver and the kernel's driver."""
        return {
            "gpu": self.name,
            "uuid": device_uuid(self._ordinal),
            "cuda": str(self.cuda.get_driver_version()),
            "driver": kernel_driver(),
        }

    def memory(self) -> tuple[int, int]:
        """Free and total memory of the GPU in bytes; the context is current.

        A GPU that shares the system's memory, as a Jetson's does, can also have what the system keeps as file cache,
        which the driver does not count as free.
        """
        free, total = self.cuda.mem_get_info()
        if self._integrated:
            free = max(free, min(total, available_system_memory()))
        return free, total

    def close(self) -> None:
        """Release the primary context; again is harmless. All that was made in it must be gone by now."""
        if self._context is None:
            return
        self.require_thread()
        context, self._context = self._context, None
        context.detach()
        # pycuda pushes the context to release it and, a primary context being no ordinary one, leaves it there.
        ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
