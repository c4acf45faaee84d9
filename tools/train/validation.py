"""PSNR-Y of the averaged weights on pairs of LR and HR pictures, by the reference network of ``models/`` in FP32."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from defian_edge.calibration.drift.metrics import luma, psnr
from defian_edge.models.defian import DeFiAN, denormalise, normalise
from tools.train.network import complete

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.models.defian import Architecture


class Validator:
    """Measures weights on named sets of pairs; the references' luma is made once.

    PSNR-Y as everywhere in this project: 8-bit pictures, ``scale`` pixels left out at each border.
    """

    def __init__(
        self, sets: Mapping[str, Sequence[EvaluationPair]], architecture: Architecture, device: torch.device
    ) -> None:
        self._sets, self._architecture, self._device = dict(sets), architecture, device
        self._network = DeFiAN(architecture).to(device).eval()
        self._pool = ThreadPoolExecutor(max_workers=os.cpu_count())
        scale = architecture.scale
        self._references = {
            name: list(self._pool.map(lambda pair: luma(pair.hr, scale), pairs)) for name, pairs in self._sets.items()
        }

    @property
    def empty(self) -> bool:
        """Whether there is nothing to measure on."""
        return not any(self._sets.values())

    def __call__(self, trained: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Mean PSNR-Y in dB by set."""
        self._network.load_state_dict(complete(trained, self._architecture))
        found = {}
        for name, pairs in self._sets.items():
            waiting = [
                self._pool.submit(self._psnr, self._upscaled(pair.lr), reference)
                for pair, reference in zip(pairs, self._references[name], strict=True)
            ]
            found[name] = float(np.mean([each.result() for each in waiting]))
        return found

    def _psnr(self, image: np.ndarray, reference: np.ndarray) -> float:
        return psnr(luma(image, self._architecture.scale), reference)

    @torch.no_grad()
    def _upscaled(self, lr: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(np.array(lr)).to(self._device).permute(2, 0, 1)[None].float() / 255.0
        with _plain_convolutions():
            picture = denormalise(self._network(normalise(pixels)))
        return (picture * 255.0).clamp(0, 255).round()[0].permute(1, 2, 0).to("cpu", torch.uint8).numpy()


@contextmanager
def _plain_convolutions() -> Iterator[None]:
    """FP32 that is FP32, and no timing of algorithms for pictures of which each has its own size."""
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32 = False, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32 = before
