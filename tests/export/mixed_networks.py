"""Networks that FP16 cannot hold: one on blue pictures alone, one everywhere for want of bits, one in all its parts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from defian_edge.calibration.photos import EvaluationPair
from defian_edge.export.source.base import reference_of
from tests.conftest import noise
from tools.architectures import Residual, conv, shuffled

if TYPE_CHECKING:
    from collections.abc import Callable

    from defian_edge.calibration.drift.reference import Reference
    from defian_edge.export.source.base import SourceNetwork

WIDTH = 16
OFFSET = 2500.0
"""Where it lies FP16's steps are 2: of values around 1 nothing is left. Convolutions that read it have one tap, or the
picture's border would be all that is seen.
"""


def conv_of(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """A convolution with these weights."""
    made = conv(weight.shape[1], weight.shape[0], weight.shape[2])
    made.weight.data = weight
    assert made.bias is not None
    made.bias.data = torch.zeros(weight.shape[0]) if bias is None else bias
    return made


def head() -> nn.Conv2d:
    """Red, green and blue as they are, and random channels."""
    made = conv(3, WIDTH)
    with torch.no_grad():
        made.weight[:3] = 0.0
        for colour in range(3):
            made.weight[colour, colour, 1, 1] = 1.0
        assert made.bias is not None
        made.bias[:3] = 0.0
    return made


def block(size: int = 3) -> Residual:
    """A usual one, which leaves the colours alone."""
    last = conv(WIDTH, WIDTH, size)
    with torch.no_grad():
        last.weight[:3] = 0.0
        assert last.bias is not None
        last.bias[:3] = 0.0
    return Residual(conv(WIDTH, WIDTH, size), nn.ReLU(), last)


def blue_block() -> Residual:
    """Zero but where nine pixels are blue and nothing else, and there up to 5e5 inside."""
    found = torch.zeros(WIDTH, WIDTH, 3, 3)
    found[:, :3] = torch.tensor([-1.0, -1.0, 1.0]).view(1, 3, 1, 1) * 5 / 9
    loud = torch.full((WIDTH, WIDTH, 1, 1), 3e4)
    quiet, last = torch.full((WIDTH, WIDTH, 1, 1), 2e-4), torch.full((WIDTH, WIDTH, 1, 1), 1e-3)
    bias = torch.full((WIDTH,), -4.0)
    layers = [conv_of(found, bias), nn.ReLU(), conv_of(loud), nn.ReLU(), conv_of(quiet), nn.ReLU(), conv_of(last)]
    return Residual(*layers)


def fine_block() -> Residual:
    """Between its convolutions lies an offset that takes FP16's bits, and more of BF16's."""
    block = Residual(conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH, 1))
    first, _, last = block.body
    with torch.no_grad():
        first.bias += OFFSET  # type: ignore[operator]
        last.bias -= OFFSET * last.weight.sum(dim=(1, 2, 3))  # type: ignore[operator, union-attr]
    return block


class Blocks(nn.Module):
    """Head, blocks, a sum around them, pixel shuffle."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.head, self.body, self.tail = head(), nn.Sequential(*blocks), shuffled(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x)))


class Offset(nn.Module):
    """Every map from the first to the last convolution lies at the offset."""

    def __init__(self, count: int = 0) -> None:
        super().__init__()
        self.head, self.body = head(), nn.Sequential(*(block(1) for _ in range(count)))
        last = conv(WIDTH, 12, 1)
        self.tail = nn.Sequential(last, nn.PixelShuffle(2))
        with torch.no_grad():
            self.head.bias += OFFSET  # type: ignore[operator]
            for each in self.body:
                each.body[0].weight -= each.body[0].weight.mean(dim=(1, 2, 3), keepdim=True)  # type: ignore[operator]
            last.weight -= last.weight.mean(dim=(1, 2, 3), keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x)))


class Compared(nn.Module):
    """A map of up to 6e5 that is compared, and asked for its largest channel; what reads it writes no floats."""

    def __init__(self) -> None:
        super().__init__()
        loud = torch.zeros(3, 3, 1, 1)
        loud[range(3), range(3)] = 6e5
        self.head, self.tail = conv_of(loud), nn.Sequential(conv(3, 12, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        loud = self.head(x)
        first = loud.argmax(1, keepdim=True).to(x.dtype)
        return self.tail(torch.where(loud > 5e4, first / 4, x))


class Chain(nn.Module):
    """Three channels through these modules in turn, none of which changes them, and a random convolution at the end."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.body, self.tail = nn.Sequential(*modules), nn.Sequential(conv(3, 12, 1), nn.PixelShuffle(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(x))


def scaled(gain: float, offset: float = 0.0, *, transposed: bool = False) -> nn.Module:
    """Each of three channels by itself, times the gain, plus the offset."""
    made = nn.ConvTranspose2d(3, 3, 1) if transposed else conv(3, 3, 1)
    with torch.no_grad():
        made.weight.copy_(torch.eye(3).view(3, 3, 1, 1) * gain)
        assert made.bias is not None
        made.bias.fill_(offset)
    return made


def loud_and_quiet(offset: float = 0.0, *, transposed: bool = False) -> list[nn.Module]:
    """What white makes 6e5 above the offset, and its inverse."""
    back = scaled(1 / 2000, -offset / 2000, transposed=transposed)
    return [scaled(300.0), scaled(2000.0, offset), back, scaled(1 / 300)]


def seeded(make: Callable[..., nn.Module], *arguments: object) -> nn.Module:
    """A network with contrast around grey, the same each time; arguments that can be called are called."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = make(*(each() if callable(each) else each for each in arguments)).eval()
        last = network.tail[0]  # type: ignore[index]
        picture = network(torch.rand(1, 3, 24, 24))
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.weight *= 0.15 / picture.std()
        last.bias += 0.5 - network(torch.rand(1, 3, 24, 24)).mean()
    return network


def blue_photo(side: int = 48) -> np.ndarray:
    """uint8 RGB [side, side, 3]: noise, and a saturated blue square."""
    photo = np.random.default_rng(5).integers(60, 200, (side, side, 3)).astype(np.uint8)
    photo[side // 4 : side // 2, side // 4 : side // 2] = (0, 0, 255)
    return photo


def reference_on(network: SourceNetwork, *pictures: np.ndarray) -> Reference:
    """Of photos ``0``, ``1``, ... that are like the network's own pictures of these, and of no hard image."""
    own = [network.upscale(lr) for lr in pictures]
    hr = [np.clip(each.astype(int) + noise(*each.shape) // 8 - 16, 0, 255).astype(np.uint8) for each in own]
    pairs = [EvaluationPair(str(index), *pair) for index, pair in enumerate(zip(pictures, hr, strict=True))]
    return replace(reference_of(network, pairs), hard=())
