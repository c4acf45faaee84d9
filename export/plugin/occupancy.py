"""How many warps of a kernel a multiprocessor holds, from its registers, threads and shared memory.

The limits are those of the CUDA C++ Programming Guide's table of technical specifications per compute capability.
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTERS = 65_536
REGISTERS_PER_WARP_STEP = 256
KIB = 1024


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of one multiprocessor; shared memory in bytes, per block with opt-in."""

    warps: int
    blocks: int
    shared: int
    shared_per_block: int
    reserved_per_block: int


MULTIPROCESSORS = {
    75: Multiprocessor(32, 16, 64 * KIB, 64 * KIB, 0),
    80: Multiprocessor(64, 32, 164 * KIB, 163 * KIB, KIB),
    86: Multiprocessor(48, 16, 100 * KIB, 99 * KIB, KIB),
    87: Multiprocessor(48, 16, 164 * KIB, 163 * KIB, KIB),
    89: Multiprocessor(48, 24, 100 * KIB, 99 * KIB, KIB),
    90: Multiprocessor(64, 32, 228 * KIB, 227 * KIB, KIB),
    100: Multiprocessor(64, 32, 228 * KIB, 227 * KIB, KIB),
    120: Multiprocessor(48, 24, 100 * KIB, 99 * KIB, KIB),
}


@dataclass(frozen=True)
class Occupancy:
    """Resident blocks and warps of one multiprocessor, and the warps it could hold."""

    blocks: int
    warps: int
    most_warps: int

    def __str__(self) -> str:
        return f"{self.warps}/{self.most_warps}"


def occupancy(architecture: int, registers: int, threads: int, shared_bytes: int) -> Occupancy:
    """The occupancy of a kernel that is launched with ``shared_bytes`` of dynamic shared memory."""
    limits = MULTIPROCESSORS[architecture]
    warps = -(-threads // WARP)
    per_warp = -(-registers * WARP // REGISTERS_PER_WARP_STEP) * REGISTERS_PER_WARP_STEP
    blocks = min(
        limits.blocks,
        limits.warps // warps,
        REGISTERS // per_warp // warps,
        limits.shared // (shared_bytes + limits.reserved_per_block),
    )
    return Occupancy(blocks, blocks * warps, limits.warps)
