"""Super-resolution networks of the kinds that people bring, small and with random weights, for tests and the matrix.

Written here from the papers' ideas, a few lines each; every one has what its kind is known to trip an exporter with. No
published weights fit them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 12
MEAN = (0.45, 0.44, 0.40)


def conv(inside: int, outside: int, size: int = 3, **options: int) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(inside, outside, size, padding=size // 2, **options)  # type: ignore[arg-type]


def shuffled(channels: int, scale: int, outside: int = 3) -> nn.Sequential:
    """A convolution and the pixel shuffle behind it."""
    return nn.Sequential(conv(channels, outside * scale**2), nn.PixelShuffle(scale))


class Residual(nn.Module):
    """``x + body(x)``."""

    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Edsr(nn.Module):
    """EDSR: residual blocks without normalisation, the mean of the colours outside (Lim et al., 2017)."""

    mean: Tensor

    def __init__(self, scale: int = 2, width: int = WIDTH, count: int = 2) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        blocks = [Residual(conv(width, width), nn.ReLU(inplace=True), conv(width, width)) for _ in range(count)]
        self.head, self.body = conv(3, width), Residual(*blocks, conv(width, width))
        self.tail = nn.Sequential(shuffled(width, scale, width), conv(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x - self.mean))) + self.mean


class ChannelAttention(nn.Module):
    """A gate for every channel from the mean over the whole image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, 4, 1), nn.ReLU(), nn.Conv2d(4, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class Rcan(nn.Module):
    """RCAN: channel attention (Zhang et al., 2018); changes its input in place, as a known port of it does."""

    mean: Tensor

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        blocks = [
            Residual(conv(width, width), nn.ReLU(), conv(width, width), ChannelAttention(width)) for _ in range(2)
        ]
        self.head, self.body = conv(3, width), Residual(*blocks, conv(width, width))
        self.tail = nn.Sequential(shuffled(width, scale, width), conv(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        x -= self.mean
        return self.tail(self.body(self.head(x))) + self.mean


class Dense(nn.Module):
    """A dense block of three convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(width + 6 * index, 6) for index in range(2)])
        self.last = conv(width + 12, width)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer in self.layers:
            seen.append(F.leaky_relu(layer(torch.cat(seen, 1)), 0.2))
        return x + 0.2 * self.last(torch.cat(seen, 1))


class Rrdb(nn.Module):
    """ESRGAN's RRDBNet: dense blocks, nearest-neighbour upsampling (Wang et al., 2018)."""

    def __init__(self, scale: int = 4, width: int = WIDTH) -> None:
        super().__init__()
        self.stages = scale.bit_length() - 1
        self.head, self.body = conv(3, width), nn.Sequential(Dense(width), Dense(width))
        self.up = nn.ModuleList([conv(width, width) for _ in range(self.stages)])
        self.last = nn.Sequential(conv(width, width), nn.LeakyReLU(0.2), conv(width, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = x + self.body(x)
        for up in self.up:
            x = F.leaky_relu(up(F.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.last(x)


class Compact(nn.Module):
    """Real-ESRGAN's SRVGGNetCompact: a stack of convolutions with PReLU (Wang et al., 2021)."""

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.scale = scale
        layers = [conv(3, width), nn.PReLU(width), conv(width, width), nn.PReLU(width), conv(width, width)]
        self.body = nn.Sequential(*layers, nn.PReLU(width), shuffled(width, scale))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + F.interpolate(x, scale_factor=self.scale, mode="nearest")


class SpatialAttention(nn.Module):
    """RLFN's ESA: a gate that is computed at a third of the size and brought back by bilinear interpolation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.small, self.strided, self.inner = nn.Conv2d(width, 4, 1), nn.Conv2d(4, 4, 3, 2), conv(4, 4)
        self.skip, self.back = nn.Conv2d(4, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        small = self.small(x)
        pooled = self.inner(F.max_pool2d(self.strided(small), 7, 3))
        gate = F.interpolate(pooled, size=x.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.back(gate + self.skip(small)))


class Rlfn(nn.Module):
    """RLFN: a local residual network with ESA (Kong et al., 2022)."""

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        block = [conv(width, width), nn.LeakyReLU(0.05), conv(width, width), nn.LeakyReLU(0.05)]
        self.head = conv(3, width)
        self.body = nn.Sequential(Residual(*block), nn.Conv2d(width, width, 1), SpatialAttention(width))
        self.tail = shuffled(width, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.body(x))


def parts_of(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that has both."""
    if layer.bias is None:
        raise ValueError("expected a convolution with a bias")
    return layer.weight, layer.bias


class Reparameterised(nn.Module):
    """SPAN's Conv3XC: three convolutions and a short cut, made one whenever it is evaluated."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.wide, self.middle = nn.Conv2d(inside, 2 * inside, 1), nn.Conv2d(2 * inside, 2 * outside, 3)
        self.narrow, self.short = nn.Conv2d(2 * outside, outside, 1), nn.Conv2d(inside, outside, 1)
        self.eval_conv = conv(inside, outside)

    def update_params(self) -> None:
        """Compose the four into one."""
        (w1, b1), (w2, b2), (w3, b3), (w4, b4) = map(parts_of, (self.wide, self.middle, self.narrow, self.short))
        weight = F.conv2d(w1.flip(2, 3).permute(1, 0, 2, 3), w2, padding=2).flip(2, 3).permute(1, 0, 2, 3)
        bias = (w2 * b1.reshape(1, -1, 1, 1)).sum((1, 2, 3)) + b2
        weight = F.conv2d(weight.flip(2, 3).permute(1, 0, 2, 3), w3).flip(2, 3).permute(1, 0, 2, 3)
        bias = (w3 * bias.reshape(1, -1, 1, 1)).sum((1, 2, 3)) + b3
        fused, fused_bias = parts_of(self.eval_conv)
        fused.data, fused_bias.data = weight + F.pad(w4, [1, 1, 1, 1]), bias + b4

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return self.narrow(self.middle(self.wide(F.pad(x, [1, 1, 1, 1])))) + self.short(x)
        self.update_params()
        return self.eval_conv(x)


class Span(nn.Module):
    """SPAN: parameter-free attention around re-parameterised convolutions (Wan et al., 2024)."""

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.head, self.first = Reparameterised(3, width), Reparameterised(width, width)
        self.second, self.tail = Reparameterised(width, width), shuffled(2 * width, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        inner = self.second(F.silu(self.first(x)))
        gated = (inner + x) * (torch.sigmoid(inner) - 0.5)
        return self.tail(torch.cat([x, gated], 1))


class Plksr(nn.Module):
    """PLKSR: a 17x17 convolution on some of the channels (Lee et al., 2024)."""

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.scale, self.width = scale, width
        self.head, self.mix, self.large = conv(3, width), conv(width, width), conv(4, 4, 17)
        self.refine, self.tail = nn.Conv2d(width, width, 1), conv(width, 3 * scale**2)

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.mix(self.head(x)))
        some, rest = torch.split(y, [4, self.width - 4], dim=1)
        y = self.refine(torch.cat([self.large(some), rest], 1)) + y
        return F.pixel_shuffle(self.tail(y) + torch.repeat_interleave(x, self.scale**2, dim=1), self.scale)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of a map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(width) + 0.5), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return (x - mean) / torch.sqrt(variance + 1e-6) * self.weight[:, None, None] + self.bias[:, None, None]


class Safmn(nn.Module):
    """SAFMN: features at several sizes gate one another (Sun et al., 2023); its pooling is plain at multiples of 8."""

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.head, self.norm, self.tail = conv(3, width), ChannelNorm(width), shuffled(width, scale)
        self.scales = nn.ModuleList([conv(width // 4, width // 4, groups=width // 4) for _ in range(4)])
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        height, width = x.shape[2:]
        made = []
        for index, (part, layer) in enumerate(zip(self.norm(x).chunk(4, 1), self.scales, strict=True)):
            if index == 0:
                made.append(layer(part))
                continue
            small = layer(F.adaptive_max_pool2d(part, (height // 2**index, width // 2**index)))
            made.append(F.interpolate(small, size=(height, width), mode="nearest"))
        gate = F.gelu(self.mix(torch.cat(made, 1)))
        return self.tail(x + gate * x)


class Imdn(nn.Module):
    """IMDN: channels are split off step by step (Hui et al., 2019)."""

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.kept, self.rest = width // 4, width - width // 4
        self.head, self.first = conv(3, width), conv(width, width)
        self.second, self.third = conv(self.rest, width), conv(self.rest, self.kept)
        self.mix, self.tail = nn.Conv2d(3 * self.kept, width, 1), shuffled(width, scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        one, rest = torch.split(F.leaky_relu(self.first(x), 0.05), [self.kept, self.rest], dim=1)
        two, rest = torch.split(F.leaky_relu(self.second(rest), 0.05), [self.kept, self.rest], dim=1)
        return self.tail(x + self.mix(torch.cat([one, two, self.third(rest)], 1)))


def windows_of(x: Tensor, size: int) -> Tensor:
    """[N, H, W, C] -> [N * windows, size * size, C]."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // size, size, width // size, size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, size * size, channels)


def image_of(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """[N * windows, size * size, C] -> [N, H, W, C]; the number of images by a division that traces freeze."""
    batch = int(windows.shape[0] / (height * width / size / size))
    x = windows.view(batch, height // size, width // size, size, size, -1)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(batch, height, width, -1)


class WindowAttention(nn.Module):
    """Attention inside windows that are shifted, with the mask of SwinIR: frozen for the size that it was made for."""

    mask: Tensor

    def __init__(self, width: int, size: int, shift: int, image_size: int) -> None:
        super().__init__()
        self.heads, self.size, self.shift, self.image_size = 2, size, shift, image_size
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(0.1 * torch.randn(self.heads, size**2, size**2))
        self.register_buffer("mask", self.mask_of(image_size, image_size))

    def mask_of(self, height: int, width: int) -> Tensor:
        """Which pixels of a window were neighbours before the shift, region by region: [windows, pixels, pixels]."""
        image = torch.zeros(1, height, width, 1)
        parts = slice(0, -self.size), slice(-self.size, -self.shift), slice(-self.shift, None)
        for index, (rows, columns) in enumerate((rows, columns) for rows in parts for columns in parts):
            image[:, rows, columns, :] = index
        flat = windows_of(image, self.size).squeeze(-1)
        apart = flat[:, None] - flat[:, :, None]
        return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, channels = x.shape
        mask = self.mask if (height, width) == (self.image_size,) * 2 else self.mask_of(height, width).to(x.device)
        moved = torch.roll(self.norm(x), (-self.shift, -self.shift), (1, 2))
        parts = windows_of(moved, self.size)
        count, pixels, _ = parts.shape
        q, k, v = self.qkv(parts).view(count, pixels, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) * (channels // self.heads) ** -0.5 + self.bias
        masked = scores.view(count // mask.shape[0], mask.shape[0], self.heads, pixels, pixels) + mask[None, :, None]
        mixed = masked.view(-1, self.heads, pixels, pixels).softmax(-1) @ v
        mixed = self.out(mixed.transpose(1, 2).reshape(count, pixels, channels))
        image = torch.roll(image_of(mixed, self.size, height, width), (self.shift, self.shift), (1, 2))
        return x + image.view(x.shape)  # as SwinIR, which goes back to tokens here: a frozen batch is hidden by it


class Swin(nn.Module):
    """SwinIR: windows of attention, padded by reflection inside (Liang et al., 2021)."""

    def __init__(self, scale: int = 2, width: int = WIDTH, image_size: int = 20) -> None:
        super().__init__()
        self.size, self.scale = 4, scale
        self.head, self.attention = conv(3, width), WindowAttention(width, 4, 2, image_size)
        self.norm, self.mlp = nn.LayerNorm(width), nn.Sequential(nn.Linear(width, 24), nn.GELU(), nn.Linear(24, width))
        self.tail = shuffled(width, scale)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        x = F.pad(x, (0, -width % self.size, 0, -height % self.size), "reflect")
        x = self.head(x)
        y = self.attention(x.permute(0, 2, 3, 1))
        y = (y + self.mlp(self.norm(y))).permute(0, 3, 1, 2)
        return self.tail(x + y)[:, :, : height * self.scale, : width * self.scale]


class Fsrcnn(nn.Module):
    """FSRCNN: luma alone, a transposed convolution at the end (Dong et al., 2016)."""

    def __init__(self, scale: int = 2, width: int = WIDTH) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(1, width, 5), nn.PReLU(width), nn.Conv2d(width, 5, 1), nn.PReLU(5), conv(5, 5), nn.PReLU(5),
            nn.Conv2d(5, width, 1), nn.PReLU(width),
            nn.ConvTranspose2d(width, 1, 9, scale, 4, output_padding=scale - 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Restoration(nn.Module):
    """A restoration network of scale 1: two levels down and up again, so that it wants multiples of 4."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.head, self.tail = conv(3, width), conv(width, 3)
        self.down = nn.ModuleList([nn.Conv2d(width, width, 2, 2) for _ in range(2)])
        self.up = nn.ModuleList([nn.Sequential(conv(width, 4 * width), nn.PixelShuffle(2)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        features, skipped = self.head(x), []
        for down in self.down:
            skipped.append(features)
            features = F.relu(down(features))
        for up in self.up:
            features = up(features) + skipped.pop()
        return x + self.tail(features)


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "EDSR": Edsr,
    "EDSR x3": lambda: Edsr(3),
    "RCAN": Rcan,
    "RRDB x4": Rrdb,
    "Compact": Compact,
    "RLFN": Rlfn,
    "SPAN": Span,
    "PLKSR": Plksr,
    "SAFMN": Safmn,
    "IMDN": Imdn,
    "SwinIR": Swin,
    "FSRCNN (luma)": Fsrcnn,
    "restoration x1": Restoration,
}
LARGE: dict[str, Callable[[], nn.Module]] = {"EDSR baseline": lambda: Edsr(2, 64, 16)}
"""Of the size that is published: 1 369 859 parameters. For how long an export takes."""
LUMA_ALONE = frozenset({"FSRCNN (luma)"})


def scale_of(name: str) -> int:
    """The scale that a network of that name has: what stands behind its last ``x``, else 2."""
    return int(name[-1]) if name[-2] == "x" else 2


def random_network(name: str, seed: int = 0) -> nn.Module:
    """A network of that kind with random weights, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return (ARCHITECTURES | LARGE)[name]().eval()
