"""From the shape, type and layout of the features to the launch of one kernel. Pure arithmetic, no CUDA.

The constants are those of ``cuda/float_tile.h`` and ``cuda/tensor_*.h``; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Mapping

VECTOR_BYTES = 16
CHANNELS_LAST_MULTIPLE = 8
MAX_BLOCKS = 2**31 - 1

KERNELS = tuple(
    f"max_hessian_eigenvalue_{element}_{layout}" for element in ("f32", "f16") for layout in ("linear", "channels_last")
)


@dataclass(frozen=True)
class Block:
    """What one block of threads makes of each map, and the bytes of shared memory by a chunk's vectors per pixel."""

    tile_width: int
    tile_height: int
    threads: int
    shared_bytes: Mapping[int, int]

    def vectors(self, shared_limit: int) -> int:
        """The most for which ``shared_limit`` bytes of shared memory suffice."""
        return max(vectors for vectors, size in self.shared_bytes.items() if size <= shared_limit)


FLOAT_BLOCK = Block(64, 32, 512, {1: 43_776, 2: 87_552})
HALF_BLOCK = Block(24, 24, 256, {2: 35_408})


def block_of(kernel: str) -> Block:
    """The block of an entry point in ``cuda/kernel.cu``."""
    return HALF_BLOCK if "_f16_" in kernel else FLOAT_BLOCK


@dataclass(frozen=True)
class Features:
    """The kernel's input: ``[batch, channels, height, width]``, FP32 or FP16, linear or channels-last.

    Channels-last is ``[batch, height, width, channels rounded up to a multiple of 8]``.
    """

    batch: int
    channels: int
    height: int
    width: int
    fp16: bool
    channels_last: bool

    @property
    def element_bytes(self) -> int:
        return 2 if self.fp16 else 4

    @property
    def pitch(self) -> int:
        """Channels that a pixel takes up in memory."""
        if not self.channels_last:
            return self.channels
        return -(-self.channels // CHANNELS_LAST_MULTIPLE) * CHANNELS_LAST_MULTIPLE

    @property
    def blocks(self) -> int:
        """Tiles over all images; 0 if a dimension is 0."""
        tile = block_of(self.kernel)
        return self.batch * -(-self.height // tile.tile_height) * -(-self.width // tile.tile_width)

    @property
    def kernel(self) -> str:
        """Name of the entry point in ``cuda/kernel.cu``."""
        element = "f16" if self.fp16 else "f32"
        return f"max_hessian_eigenvalue_{element}_{'channels_last' if self.channels_last else 'linear'}"


@dataclass(frozen=True)
class LaunchPlan:
    """One kernel launch: the entry point, a one-dimensional grid, and its last two integer arguments."""

    kernel: str
    blocks: int
    threads: int
    shared_bytes: int
    pitch: int
    vectors: int


def plan(features: Features, shared_limit: int) -> LaunchPlan:
    """Choose the launch for a device whose blocks may use ``shared_limit`` bytes of shared memory.

    FP32 channels-last pixels are staged two 16-byte vectors at a time where the device allows it, so that every
    32-byte sector is read whole and once; linear planes have whole sectors anyway and gain from a second block.
    FP16 is staged two vectors, 16 channels, at a time always.

    Raises:
        DefianError: the grid would exceed 2^31 - 1 blocks.
    """
    if features.blocks > MAX_BLOCKS:
        msg = f"{features} needs {features.blocks} blocks, and a CUDA grid has at most {MAX_BLOCKS}"
        raise DefianError(msg, "Use a smaller batch or smaller tiles.")
    block = block_of(features.kernel)
    whole_sectors = features.channels_last and features.channels > VECTOR_BYTES // features.element_bytes
    vectors = block.vectors(shared_limit) if whole_sectors else min(block.shared_bytes)
    return LaunchPlan(
        kernel=features.kernel,
        blocks=features.blocks,
        threads=block.threads,
        shared_bytes=block.shared_bytes[vectors],
        pitch=features.pitch,
        vectors=vectors,
    )
