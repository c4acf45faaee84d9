"""What every variant is measured against: PyTorch's pictures of photos, and of images that no photo resembles.

``export/reference.py`` makes one by running the network; on a device without PyTorch it comes from a reference pack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from defian_edge.calibration.drift.evaluation import Evaluation
    from defian_edge.calibration.drift.hard_images import HardPicture
    from defian_edge.calibration.photos import EvaluationPair


@dataclass(frozen=True)
class Reference:
    """The PyTorch FP32 network on a set of images.

    Attributes:
        pairs: photos, LR and HR.
        results: what the network made of the LR of every pair, in their order.
        scale: of the network; so many border pixels are left out of PSNR-Y and SSIM-Y.
        hard: images on which low precision goes wrong first; empty where only photos are measured.
    """

    pairs: Sequence[EvaluationPair]
    results: Sequence[Evaluation]
    scale: int
    hard: Sequence[HardPicture] = ()

    def only(self, photos: Iterable[int], hard: Sequence[HardPicture]) -> Reference:
        """A part of it: the photos at these places, and these hard images."""
        places = list(photos)
        return Reference(
            [self.pairs[place] for place in places], [self.results[place] for place in places], self.scale, hard
        )
