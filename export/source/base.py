"""What the pipeline needs to know of a network, whichever it is: its name, its graph, and its own pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.calibration.drift.hard_images import hard_pictures
from defian_edge.calibration.drift.reference import Reference
from defian_edge.runtime.profile import ShapeProfile

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import onnx_ir as ir

    from defian_edge.calibration.drift.evaluation import Evaluation
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.export.trace.network import Io


FREE_SIDES = (2, 64, 16384)
"""Smallest, usual and largest LR pixels along a side that a network leaves open."""


@dataclass(frozen=True)
class Sizes:
    """What sizes a network's graph takes.

    Attributes:
        height, width: LR pixels, where the graph takes no others; None for any.
        one_image: whether it takes one image at a time only.
    """

    height: int | None = None
    width: int | None = None
    one_image: bool = False


ANY_SIZE = Sizes()


class SourceNetwork(ABC):
    """A super-resolution network that is exported, and that every variant of it is measured against.

    Attributes:
        name: what its files are called.
        scale: how many times as high and wide its pictures are.
        sha256: of the file that it was read from, or that its weights would make.
        description: one line for the user: which network it is.
        reference: what computes its own pictures, in words: ``PyTorch``, or ``ONNX Runtime``.
        sizes: what its graph takes.
        reach: how far a pixel is seen: ``{"whole_image": bool, "pixels": int}``; see :mod:`.reach`.
        source: what of it a manifest keeps so that it can be opened again; empty for DeFiAN.
    """

    name: str
    scale: int
    sha256: str
    description: str
    reference: str = "PyTorch"
    sizes: Sizes = ANY_SIZE
    reach: dict[str, Any]
    source: dict[str, Any]

    @property
    def fixed_profile(self) -> ShapeProfile | None:
        """The one shape that the network takes; None if it takes others."""
        return None if self.sizes.height is None or self.sizes.width is None else self.taken

    @property
    def taken(self) -> ShapeProfile | None:
        """All shapes of one image that the network takes; None if it takes any."""
        height, width = self.sizes.height, self.sizes.width
        if height is None and width is None:
            return None
        shapes = [(1, height or side, width or side) for side in FREE_SIDES]
        return ShapeProfile(*shapes)

    @abstractmethod
    def renamed(self, name: str) -> SourceNetwork:
        """The same network under another name."""

    @abstractmethod
    def trace(self, io: Io) -> ir.Model:
        """A new plain FP32 graph: uint8 RGB [N, H, W, 3] in, [N, sH, sW, 3] out, unless ``io`` is float.

        Raises:
            DefianError: there is no such graph of it.
        """

    @abstractmethod
    def evaluate(self, lr: np.ndarray) -> Evaluation:
        """The network's own FP32 picture of uint8 RGB [H, W, 3], the values before rounding in view."""

    def upscale(self, lr: np.ndarray) -> np.ndarray:
        """The same as uint8 RGB [sH, sW, 3] alone."""
        return self.evaluate(lr).image


def reference_of(
    network: SourceNetwork, pairs: Sequence[EvaluationPair], profile: ShapeProfile | None = None
) -> Reference:
    """The network's pictures of photos, before rounding as well, and of hard images in sizes that the profile takes.

    A network of one size, height or width has its own profile.
    """
    results = [network.evaluate(pair.lr) for pair in pairs]
    return Reference(pairs, results, network.scale, hard_pictures(network.upscale, profile or network.taken))
