"""Other people's super-resolution networks, small and with random weights, as FP32 graphs with uint8 I/O."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import torch
from onnx import shape_inference
from torch import Tensor, nn
from torch.nn import functional

from defian_edge.export.graph import settle

if TYPE_CHECKING:
    from collections.abc import Sequence

CHANNELS = 16
SCALE = 2


def conv(inputs: int = CHANNELS, outputs: int = CHANNELS, size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2)


class Shuffled(nn.Module):
    """Convolution and pixel shuffle to a picture."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.conv = conv(channels, 3 * SCALE**2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.conv(x), SCALE)


class EdsrBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(), nn.ReLU(), conv())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x


class Skipped(nn.Module):
    """``head, body, tail + head, upscaling``, as EDSR, RCAN and ESRGAN have it."""

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.head, self.conv_after_body, self.up = conv(3), conv(), Shuffled()
        self.body = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.up(self.conv_after_body(self.body(x)) + x)


class ChannelAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.excite = conv(CHANNELS, 4, 1), conv(4, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(torch.relu(self.squeeze(mean))))


class RcanBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rcab = nn.Sequential(conv(), nn.ReLU(), conv(), ChannelAttention())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.rcab(x)


class RcanGroup(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(RcanBlock(), RcanBlock())
        self.conv = conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.blocks(x)) + x


class DenseBlock(nn.Module):
    """Three convolutions, each of all that is before it, as ESRGAN's five; a fifth is added."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = conv(), conv(2 * CHANNELS), conv(3 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        first = functional.leaky_relu(self.conv1(x), 0.2)
        second = functional.leaky_relu(self.conv2(torch.cat([x, first], 1)), 0.2)
        return 0.2 * self.conv3(torch.cat([x, first, second], 1)) + x


class Rrdb(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rdb1, self.rdb2 = DenseBlock(), DenseBlock()

    def forward(self, x: Tensor) -> Tensor:
        return 0.2 * self.rdb2(self.rdb1(x)) + x


class Esrgan(nn.Module):
    """RRDB blocks, and upscaling by nearest pixels and convolutions with LeakyReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.conv_body = conv(3), conv()
        self.body = nn.Sequential(Rrdb(), Rrdb())
        self.conv_up, self.conv_hr, self.conv_last = conv(), conv(), conv(CHANNELS, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = functional.interpolate(x + self.conv_body(self.body(x)), scale_factor=SCALE, mode="nearest")
        x = functional.leaky_relu(self.conv_hr(functional.leaky_relu(self.conv_up(x), 0.2)), 0.2)
        return self.conv_last(x)


class Compact(nn.Module):
    """SRVGG: a chain of convolutions with PReLU, the picture added enlarged."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3), nn.PReLU(CHANNELS)]
        for _ in range(3):
            layers += [conv(), nn.PReLU(CHANNELS)]
        self.body = nn.Sequential(*layers, conv(CHANNELS, 3 * SCALE**2))

    def forward(self, x: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.body(x), SCALE) + functional.interpolate(x, scale_factor=SCALE)


class ImdnBlock(nn.Module):
    """A quarter of the channels is kept at every step, the others go on."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = conv(2 * CHANNELS, 2 * CHANNELS), conv(CHANNELS, 2 * CHANNELS)
        self.c3, self.c5 = conv(CHANNELS, CHANNELS), conv(3 * CHANNELS, 2 * CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = torch.split(functional.leaky_relu(self.c1(x), 0.05), CHANNELS, 1)
        also, rest = torch.split(functional.leaky_relu(self.c2(rest), 0.05), CHANNELS, 1)
        return self.c5(torch.cat([kept, also, self.c3(rest)], 1)) + x


class Imdn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.body1, self.body2 = conv(3, 2 * CHANNELS), ImdnBlock(), ImdnBlock()
        self.fuse, self.tail = conv(4 * CHANNELS, 2 * CHANNELS, 1), conv(2 * CHANNELS, 2 * CHANNELS)
        self.up = Shuffled(2 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        first = self.body1(x)
        return self.up(self.tail(self.fuse(torch.cat([first, self.body2(first)], 1))) + x)


class Fsrcnn(nn.Module):
    """A chain that ends in a transposed convolution; here with three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.feature, self.shrink, self.expand = conv(3, 2 * CHANNELS, 5), conv(2 * CHANNELS, 16, 1), conv(16, 32, 1)
        self.map = nn.Sequential(conv(), nn.PReLU(), conv(), nn.PReLU())
        self.last = nn.ConvTranspose2d(2 * CHANNELS, 3, 9, stride=SCALE, padding=4, output_padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.shrink(torch.relu(self.feature(x))))
        return self.last(torch.relu(self.expand(self.map(x))))


class PixelAttention(nn.Module):
    """A block whose gate is a 3x3 convolution of the map itself, as in PLKSR and PAN."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention, self.last = conv(), conv(), conv()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.first(x))
        return self.last(y * torch.sigmoid(self.attention(y))) + x


class Depthwise(nn.Module):
    """A block of a depthwise and two pointwise convolutions, as in SAFMN and SMFANet."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(CHANNELS, CHANNELS, 7, padding=3, groups=CHANNELS)
        self.widen, self.narrow = conv(CHANNELS, 2 * CHANNELS, 1), conv(2 * CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(functional.gelu(self.widen(self.spatial(x)))) + x


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.fc1, self.fc2 = nn.Linear(CHANNELS, 2 * CHANNELS), nn.Linear(2 * CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fc2(functional.gelu(self.fc1(self.norm(x))))


class WindowAttention(nn.Module):
    """Attention among the tokens of windows of 2x2 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.proj = nn.LayerNorm(CHANNELS), nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        windows = self.norm(x).reshape(batch, height // 2, 2, width // 2, 2, channels)
        tokens = windows.permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, channels)
        query, key, value = torch.split(self.qkv(tokens), CHANNELS, -1)
        mixed = self.proj(torch.softmax(query @ key.transpose(1, 2) / 4.0, -1) @ value)
        mixed = mixed.reshape(batch, height // 2, width // 2, 2, 2, channels).permute(0, 1, 3, 2, 4, 5)
        return x + mixed.reshape(batch, height, width, channels)


class SwinGroup(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp, self.conv = WindowAttention(), Mlp(), conv()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.mlp(self.attn(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)) + x


STRANGERS = {
    "edsr": lambda: Skipped([EdsrBlock() for _ in range(2)]),
    "rcan": lambda: Skipped([RcanGroup() for _ in range(2)]),
    "esrgan": Esrgan,
    "compact": Compact,
    "imdn": Imdn,
    "fsrcnn": Fsrcnn,
    "pixel attention": lambda: Skipped([PixelAttention() for _ in range(2)]),
    "depthwise": lambda: Skipped([Depthwise() for _ in range(2)]),
    "swin": lambda: Skipped([SwinGroup() for _ in range(2)]),
}


class Deployed(nn.Module):
    """uint8 NHWC in and out."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        upscaled = self.network(image.to(torch.float32).permute(0, 3, 1, 2) / 255.0) * 255.0
        return torch.round(torch.clamp(upscaled, 0.0, 255.0)).permute(0, 2, 3, 1).to(torch.uint8)


def stranger(name: str, seed: int = 0) -> nn.Module:
    """A network of random weights whose picture is grey with some contrast, whatever the image."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        network = STRANGERS[name]().eval()
        last = [each for each in network.modules() if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d))][-1]
        picture = network(torch.rand(1, 3, 24, 24))
        last.weight *= 0.15 / picture.std()
        last.bias += 0.5 - network(torch.rand(1, 3, 24, 24)).mean()  # type: ignore[operator]
    return network


def graph_of(network: nn.Module, opset: int = 20) -> ir.Model:
    """Its graph by the exporter that keeps the names of the weights and takes a fraction of a second."""
    buffer, axes = io.BytesIO(), {0: "batch", 1: "height", 2: "width"}
    image = torch.zeros(1, 24, 32, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Deployed(network), (image,), buffer,  # pyright: ignore[reportArgumentType] - the older one takes a buffer
            input_names=["image"], output_names=["upscaled"],
            dynamic_axes={"image": axes, "upscaled": {0: "batch"}}, opset_version=opset, dynamo=False,
        )  # fmt: skip
    model = ir.from_proto(shape_inference.infer_shapes(onnx.load_from_string(buffer.getvalue()), data_prop=True))
    for value in list(model.graph.initializers.values()):
        value.name = (value.name or "").removeprefix("network.")
    settle(model)
    return model
