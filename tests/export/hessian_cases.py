"""Features, biases and the PyTorch answer, shared by the tests of the eigenvalue kernel."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from skimage import data

from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.models.defian import DILATIONS, DeFiAM, HessianFilter, normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPES = ((1, 5, 1, 1), (1, 5, 17, 23), (1, 32, 17, 23), (2, 5, 33, 65), (1, 64, 32, 64), (1, 32, 7, 72), (1, 1, 40, 8))
AROUND_A_VECTOR = tuple((1, 5, 4, width) for width in (3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65))


def reference(features: NDArray[Any], bias: NDArray[np.float32], dtype: torch.dtype = torch.float32) -> NDArray[Any]:
    """defian_edge.models.defian's own filters with the given biases, averaged over the channels: [N, 3, H, W]."""
    x = torch.from_numpy(features.astype(np.float64)).to(dtype)
    maps = []
    with torch.no_grad():
        for index, dilation in enumerate(DILATIONS):
            filters = HessianFilter(x.shape[1], dilation).to(dtype)
            banks = (filters.grad_xx, filters.grad_yy, filters.grad_xy)
            for bank, values in zip(banks, bias[index], strict=True):
                assert bank.bias is not None
                bank.bias.copy_(torch.from_numpy(values))
            maps.append(filters(x).mean(dim=1, keepdim=True))
    return torch.cat(maps, dim=1).numpy()


def magnitude(features: NDArray[Any], bias: NDArray[np.float32]) -> NDArray[Any]:
    """The size of the terms that the eigenvalue sums up: what rounding errors are relative to. [N, 3, H, W]."""
    return reference(np.abs(features), np.abs(bias), torch.float64) + reference(-np.abs(features), np.abs(bias))


def random_case(shape: tuple[int, int, int, int], seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Normal features and biases in FP32."""
    generator = np.random.default_rng(seed)
    features = generator.standard_normal(shape).astype(np.float32)
    return features, generator.standard_normal((3, 3, shape[1])).astype(np.float32)


@cache
def checkpoint_case(module: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """What enters the eigenvalue step of a module of the bundled x2 network for a photo, its biases, and its maps."""
    network = load_checkpoint(resolve_model("defian-s-x2")).network()
    filters = ("hessian3", "hessian5", "hessian7")
    with torch.no_grad():
        x = network.input(normalise(_photo()))
        for before in list(network.body)[:module]:
            x = before(x)
        wanted = network.body[module]
        assert isinstance(wanted, DeFiAM)
        features = wanted.body_block(x)
        maps = wanted.eigenvalue_maps(features)
        state = wanted.state_dict()
        bias = [[state[f"{each}.0.grad_{bank}.bias"].numpy() for bank in ("xx", "yy", "xy")] for each in filters]
    return features.numpy(), np.array(bias, np.float32), maps.numpy()


def _photo() -> torch.Tensor:
    """[1, 3, 71, 101] in [0, 1]."""
    return torch.from_numpy(data.astronaut()[100:171, 200:301].copy()).permute(2, 0, 1)[None].float() / 255


@cache
def photo_features(channels: int) -> NDArray[np.float32]:
    """A photo through a random convolution and a ReLU: smooth, sparse and of one sign, as a network's are."""
    weight = torch.from_numpy(np.random.default_rng(7).standard_normal((channels, 3, 3, 3)).astype(np.float32))
    return torch.relu(torch.conv2d(_photo() - 0.45, weight, padding=1)).numpy()
