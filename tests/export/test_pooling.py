"""Adaptive max pooling, which ONNX lacks: plain where sizes divide, refused where they never do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import nn

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.source.module import open_module
from defian_edge.export.source.opening import open_source
from defian_edge.export.source.picture import PictureFormat
from defian_edge.export.source.sizes import Fit
from defian_edge.export.trace.network import Io
from defian_edge.export.trace.pooling import WHOLE, kernels_of
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise
from tools.architectures import random_network


class Gated(nn.Module):
    """A convolution, and what a pooling of it makes of it."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 3, 3, padding=1), pool

    def forward(self, x):
        y = self.conv(x)
        return y * F.interpolate(self.pool(y), size=x.shape[2:], mode="nearest")


@pytest.mark.parametrize(("make", "fit"), [
    (lambda: random_network("SAFMN"), Fit(2, 8, 1)),
    (lambda: Gated(nn.AdaptiveMaxPool2d(1)), Fit(1)),
])  # fmt: skip
def test_the_graph_gives_what_the_module_gives_where_sizes_divide(make, fit):
    module, given = make(), F.adaptive_max_pool2d
    network = open_module(module, PictureFormat())
    assert (network.fit.multiple, network.fit.scale) == (fit.multiple, fit.scale)
    session = session_of(network.trace(Io.UINT8))
    assert F.adaptive_max_pool2d is given
    for batch, height, width in ((1, 24, 40), (3, 16, 16), (1, 64, 8)):
        images = noise(batch, height, width, 3)
        with torch.inference_mode():
            values = module(torch.from_numpy(images / 255).float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        assert np.abs(np.asarray(session.run(None, {"image": images})[0]) - np.clip(255 * values, 0, 255)).max() < 0.53


def test_a_pooling_to_a_fixed_size_is_refused():
    with pytest.raises(DefianError, match=r"Gated pools to sizes that are no fraction .*adaptive_max_pool2d") as error:
        open_source(Gated(nn.AdaptiveMaxPool2d(7)))
    assert "max_pool2d" in error.value.hint


def test_what_a_pooling_pools_by_is_seen_however_it_is_called():
    x = torch.rand(1, 2, 24, 36)

    def run() -> None:
        F.adaptive_max_pool2d(x, (3, 9))
        F.adaptive_max_pool2d(input=x, output_size=12)
        nn.AdaptiveMaxPool2d((None, 18))(x)
        F.adaptive_max_pool2d(x, 1)
        F.adaptive_max_pool2d(x, 5)
        F.adaptive_max_pool2d(x, 12, return_indices=True)

    assert kernels_of(run) == [(8, 4), (2, 3), (1, 2), WHOLE, None, None]
