"""What is published of one device. A figure that NVIDIA does not publish for a type is None, and is said to be so."""

from __future__ import annotations

from dataclasses import dataclass

TERA, GIGA, GIBI = 1e12, 1e9, 1 << 30
RTX_CAPABILITIES = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0))
"""What TensorRT-RTX 1.7 runs on, beside anything newer than the last; nothing between two of them (docs/gpu.md)."""
FIRST_BF16 = (8, 0)
"""Compute capability of the first GPUs whose tensor cores multiply BF16 (Ampere)."""
SYSTEM = 1536 << 20
"""Bytes, an allowance: for the system and the program itself where CPU and GPU share the memory."""
NOT_PUBLISHED = "not published"


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device: peaks are operations per second by type (a MAC is two), dense, and bytes per second.

    Attributes:
        name: what ``--device`` takes.
        capability: compute capability, such as (8, 7).
        memory: bytes of the module or card; of a unified one CPU and system take their part.
        unified: CPU and GPU share the memory.
        bandwidth: of that memory, bytes per second.
        fp32, fp16, int8, fp8: operations per second; None where there is no published figure, or no such type.
        source: where the figures come from.
        power: watts: power modes of a Jetson, the board's power of a card.
        jetpacks: versions of JetPack that it has, such as ``6.2``; none for a card.
        drivers_name: what the driver calls it, without "NVIDIA " and "GeForce "; empty for a Jetson.
        board: what a Jetson's device tree calls its module; empty for a card, and for a mode that is not its fastest.
    """

    name: str
    capability: tuple[int, int]
    memory: int
    bandwidth: float
    source: str
    fp32: float | None = None
    fp16: float | None = None
    int8: float | None = None
    fp8: float | None = None
    unified: bool = False
    power: str = ""
    jetpacks: tuple[str, ...] = ()
    drivers_name: str = ""
    board: str = ""

    def peak(self, precision: str) -> float | None:
        """Operations per second of ``fp32``, ``fp16``, ``bf16`` or ``int8``; None if it is not published.

        Tensor cores multiply BF16 as fast as FP16 where they know it, from compute capability 8.0 on.
        """
        bf16 = self.fp16 if self.capability >= FIRST_BF16 else None
        return {"fp32": self.fp32, "fp16": self.fp16, "bf16": bf16, "int8": self.int8}[precision]

    @property
    def sm(self) -> int:
        """The compute capability as ``--sm`` takes it, such as 87."""
        return 10 * self.capability[0] + self.capability[1]

    @property
    def room(self) -> int:
        """Bytes of its memory that an engine may have."""
        return self.memory - (SYSTEM if self.unified else 0)

    @property
    def takes_rtx(self) -> bool:
        """Whether TensorRT-RTX runs on it."""
        return takes_rtx(self.capability)

    @property
    def is_jetson(self) -> bool:
        """Whether its TensorRT comes with JetPack."""
        return bool(self.jetpacks)


def takes_rtx(capability: tuple[int, int]) -> bool:
    """Whether TensorRT-RTX runs on a compute capability."""
    return capability in RTX_CAPABILITIES or capability > RTX_CAPABILITIES[-1]
