"""The kernel's source compiled for the CPU: for tests, and for counting its memory traffic without a GPU."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin.binary import source_folder
from defian_edge.runtime.plugin.launch import Features, plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = Path(__file__).with_name("cpu_kernel.cpp")
ALIGNMENT = 256  # what cudaMalloc and TensorRT promise at least
SECTOR_BYTES = 32
SHARED_LIMIT = 99 * 1024  # of a block, on every target but sm_75
WARP_THREADS = 32
STRICT_FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Werror")


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("features", "bias", "maps")),
        *((name, ctypes.c_int) for name in ("batch", "channels", "height", "width", "pitch", "vectors")),
    )


class Options(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("reversed", "checking", "counting", "resident")),
        ("l2_bytes", ctypes.c_longlong),
    )


class _Counts(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_longlong)
        for name in (
            *("blocks", "features_asked", "bias_asked", "bias_sectors"),
            *("sectors_touched", "sectors_missed", "written_twice", "misaligned"),
        )
    )


@dataclass(frozen=True)
class Cache:
    """The cache model: blocks in flight at a time, going through their chunks in step, over one shared L2.

    A block asks for a 32-byte sector of features once per staging, and for one of biases once per chunk, whatever
    the number of its threads that read it; the L2 holds ``l2_bytes`` of sectors, least recently used out first.
    Within a block nothing else is kept. Maps are written through and take no room.
    """

    resident: int = 32
    l2_bytes: int = 2 * 2**20


@dataclass(frozen=True)
class Traffic:
    """Bytes of one launch.

    ``least`` is the features once, channels-last padding included, and the three maps once, and no biases.
    ``asked`` are the bytes of features that loads name and the sectors of biases, once per block and chunk;
    ``biases_by_warp`` the bytes of biases with no L1: in FP32 a load instruction of a warp is one broadcast, in FP16
    each thread loads biases of its own.
    """

    least: int
    written: int
    asked: int
    biases_by_warp: int
    bias_sectors: int
    touched: int
    missed: int

    @property
    def uncached_ratio(self) -> float:
        """The bytes asked for and the maps, over the least: no feature is ever reused from a cache."""
        return (self.asked + self.written) / self.least

    @property
    def broadcast_ratio(self) -> float:
        """The same, with the biases not even in L1: every warp fetches them anew."""
        features = self.asked - self.bias_sectors * SECTOR_BYTES
        return (features + self.biases_by_warp + self.written) / self.least

    @property
    def sector_ratio(self) -> float:
        """Features and biases in whole sectors, each counted once per block and staging."""
        return (self.touched + self.written) / self.least

    @property
    def cached_ratio(self) -> float:
        """Sectors that the L2 of the model does not hold, and the maps, over the least."""
        return (self.missed + self.written) / self.least


@dataclass(frozen=True)
class Variation:
    """How a run is made.

    Vectors per chunk (None: as launched; read for FP32 only), order of threads and warps, blocks in flight, and
    elements by which linear features start behind an aligned address.
    """

    vectors: int | None = None
    reversed_threads: bool = False
    resident: int = 4
    offset: int = 0


def compile_cpu_kernel(output: Path, *flags: str) -> Path:
    """Compile cpu_kernel.cpp to ``output``; warnings are errors.

    Raises:
        DefianError: there is no g++, or it refuses the source.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise DefianError("Running the kernel's source on the CPU needs g++, which was not found.")
    command = [compiler, *STRICT_FLAGS, *flags, f"-I{source_folder()}", str(SOURCE), "-o", str(output)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise DefianError(f"g++ refused {SOURCE.name}:\n{done.stderr}", "Run: " + " ".join(command))
    return output


class CpuKernel:
    """The kernel on NumPy arrays."""

    def __init__(self, folder: Path, *flags: str) -> None:
        """Compile into ``folder``, with more compiler flags if given, and load."""
        self.library = ctypes.CDLL(str(compile_cpu_kernel(folder / "cpu_kernel.so", "-O2", "-fPIC", "-shared", *flags)))
        self.library.defian_widen.restype = ctypes.c_float
        self.library.defian_widen.argtypes = [ctypes.c_ushort]
        self.library.defian_narrow.restype = ctypes.c_ushort
        self.library.defian_narrow.argtypes = [ctypes.c_float]
        self.library.defian_cpu_kernel.restype = None
        self.library.defian_cpu_kernel.argtypes = [ctypes.c_int, ctypes.c_int, *(ctypes.c_void_p,) * 3]

    def run(
        self,
        features: NDArray[Any],
        bias: NDArray[np.float32],
        *,
        channels_last: bool = False,
        variation: Variation | None = None,
    ) -> NDArray[Any]:
        """The maps [N, 3, H, W] of features [N, C, H, W], FP32 or FP16, and bias [3, 3, C].

        The maps, shared memory and the padding channels hold NaN before the run.

        Raises:
            AssertionError: two threads wrote the same word of shared memory, or a load was not aligned to its size.
        """
        variation = variation or Variation()
        described = describe(features, channels_last=channels_last)
        stored = to_channels_last(features, described.pitch) if channels_last else aligned(features, variation.offset)
        maps = aligned(np.empty((described.batch, 3, described.height, described.width), features.dtype))
        maps.view(np.uint8)[...] = 0xFF
        options = Options(variation.reversed_threads, 1, 0, variation.resident, 0)
        vectors = variation.vectors or plan(described, SHARED_LIMIT).vectors
        counts = self.launch(described, (stored.ctypes.data, aligned(bias), maps.ctypes.data), vectors, options)
        if counts.written_twice:
            msg = f"{counts.written_twice} bytes of shared memory were written twice in one staging"
            raise AssertionError(msg)
        return maps

    def traffic(self, described: Features, vectors: int, cache: Cache | None = None) -> Traffic:
        """Count one launch's memory traffic, of features, biases and maps."""
        cache = cache or Cache()
        element = np.float16 if described.fp16 else np.float32
        pixels = described.batch * described.height * described.width
        features = aligned(np.zeros(pixels * described.pitch, element))
        maps = aligned(np.zeros(pixels * 3, element))
        bias = aligned(np.zeros((3, 3, described.channels), np.float32))
        options = Options(0, 0, 1, cache.resident, cache.l2_bytes)
        counts = self.launch(described, (features.ctypes.data, bias, maps.ctypes.data), vectors, options)
        return Traffic(
            least=features.nbytes + maps.nbytes,
            written=maps.nbytes,
            asked=counts.features_asked + counts.bias_sectors * SECTOR_BYTES,
            biases_by_warp=counts.bias_asked // (1 if described.fp16 else WARP_THREADS),
            bias_sectors=counts.bias_sectors,
            touched=counts.sectors_touched * SECTOR_BYTES,
            missed=counts.sectors_missed * SECTOR_BYTES,
        )

    def launch(
        self, described: Features, addresses: tuple[int, NDArray[np.float32], int], vectors: int, options: Options
    ) -> _Counts:
        """Run on raw addresses of features, bias array and maps.

        Raises:
            AssertionError: a load was not aligned to its size, which ends a kernel on a GPU.
        """
        features, bias, maps = addresses
        problem = _Problem(
            *(features, bias.ctypes.data, maps),
            *(described.batch, described.channels, described.height, described.width, described.pitch, vectors),
        )
        counts = _Counts()
        self.library.defian_cpu_kernel(
            *(int(described.fp16), int(described.channels_last)),
            *(ctypes.addressof(each) for each in (problem, options, counts)),
        )
        if counts.misaligned:
            msg = f"{counts.misaligned} loads were at addresses that are no multiple of their size"
            raise AssertionError(msg)
        return counts


def describe(features: NDArray[Any], *, channels_last: bool) -> Features:
    """What the kernel's launch needs to know of an array [N, C, H, W]."""
    return Features(*features.shape, fp16=features.dtype == np.float16, channels_last=channels_last)


def to_channels_last(features: NDArray[Any], pitch: int) -> NDArray[Any]:
    """[N, C, H, W] to [N, H, W, pitch], aligned; the padding channels hold NaN."""
    batch, channels, height, width = features.shape
    stored = aligned(np.full((batch, height, width, pitch), np.nan, features.dtype))
    stored[..., :channels] = features.transpose(0, 2, 3, 1)
    return stored


def aligned(array: NDArray[Any], offset: int = 0) -> NDArray[Any]:
    """A contiguous copy whose address is a multiple of 256, or ``offset`` elements behind one."""
    shift = offset * array.itemsize
    room = np.empty(array.nbytes + ALIGNMENT + shift, np.uint8)
    start = -room.ctypes.data % ALIGNMENT + shift
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
