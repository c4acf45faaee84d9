"""From the shape, type and layout of the features to the launch of one kernel. Pure arithmetic, no CUDA.

The constants are those of ``cuda/tile.h``; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import DefianError

TILE_WIDTH = 64
TILE_HEIGHT = 32
THREADS = 512
SHARED_BYTES_PER_VECTOR = 43_776
VECTOR_BYTES = 16
CHANNELS_LAST_MULTIPLE = 8
MAX_BLOCKS = 2**31 - 1

KERNELS = tuple(
    f"max_hessian_eigenvalue_{element}_{layout}" for element in ("f32", "f16") for layout in ("linear", "channels_last")
)


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
        """Tiles of 64 x 32 pixels over all images; 0 if a dimension is 0."""
        return self.batch * -(-self.height // TILE_HEIGHT) * -(-self.width // TILE_WIDTH)

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

    Channels-last pixels are staged two 16-byte vectors at a time where the device allows it, so that every
    32-byte sector is read whole and once; linear planes have whole sectors anyway and gain from a second block.

    Raises:
        DefianError: the grid would exceed 2^31 - 1 blocks.
    """
    if features.blocks > MAX_BLOCKS:
        msg = f"{features} needs {features.blocks} blocks, and a CUDA grid has at most {MAX_BLOCKS}"
        raise DefianError(msg, "Use a smaller batch or smaller tiles.")
    per_vector = VECTOR_BYTES // features.element_bytes
    whole_sectors = features.channels_last and features.channels > per_vector
    vectors = 2 if whole_sectors and shared_limit >= 2 * SHARED_BYTES_PER_VECTOR else 1
    return LaunchPlan(
        kernel=features.kernel,
        blocks=features.blocks,
        threads=THREADS,
        shared_bytes=vectors * SHARED_BYTES_PER_VECTOR,
        pitch=features.pitch,
        vectors=vectors,
    )
