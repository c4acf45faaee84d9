"""Load DeFiAN checkpoints: the authors' ``.pth``, or ``.safetensors``; never executes pickled code."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from defian_edge.models.defian import Architecture, DeFiAN
from defian_edge.models.reading import read_tensors
from defian_edge.models.wrapped import OTHER_NETWORK, unwrap
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOGGER = logging.getLogger(__name__)

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
CHANNELS = range(16, 513)
MOST_MODULES, MOST_BLOCKS = 64, 128
"""Limits of what is loaded; the paper's large network has 64 channels and 10 modules of 20 blocks."""
_MODULE, _BLOCK = "body.0.", "body.0.body_block.0."


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a DeFiAN, checked against the architecture that their own keys describe.

    Attributes:
        architecture: C, M, N and the scale, read from the keys.
        state: float32 tensors under the authors' state-dict names, without prefixes.
        sha256: of the file's bytes.
        name: the file's stem, or the bundled name.
    """

    architecture: Architecture
    state: dict[str, Tensor] = field(repr=False)
    sha256: str
    name: str

    @property
    def scale(self) -> int:
        """How many times as high and wide the network's pictures are."""
        return self.architecture.scale

    def network(self) -> DeFiAN:
        """The reference network with these weights, in evaluation mode on the CPU."""
        network = DeFiAN(self.architecture)
        network.load_state_dict(self.state, strict=True)
        return network.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read, describe and check a checkpoint. What is large is looked at before anything of its size is made.

    Raises:
        DefianError: the file is missing, damaged, holds pickled code, or is no DeFiAN within the limits; the message
            names the first key that differs with the shape expected and found.
    """
    if not path.is_file():
        raise DefianError(f"No checkpoint at {path}.", "Give a .pth or .safetensors file, or a bundled model name.")
    raw = unwrap(read_tensors(path), path)
    for key, value in raw.items():
        _require_plain(key, value)
    architecture = describe(raw)
    _require_shapes(raw, architecture)
    state = {key: value.detach().to(torch.float32) for key, value in raw.items()}
    _require_finite(state)
    try:
        digest = sha256_of(path)
    except OSError as error:
        raise DefianError(f"Cannot read {path}: {error.strerror}.") from error
    LOGGER.info("%s is a %s, SHA-256 %s", path, architecture, digest)
    return Checkpoint(architecture, state, digest, path.stem)


def describe(state: Mapping[str, Tensor]) -> Architecture:
    """Read C, M, N and the scale from the keys and shapes of a state dict.

    Raises:
        DefianError: a key without which there is no DeFiAN is missing or has an unusable shape, or the network is
            larger than the limits.
    """
    channels = _required(state, "input.weight", dimensions=4).shape[0]
    if channels not in CHANNELS:
        limits = f"{CHANNELS.start} to {CHANNELS.stop - 1}"
        raise DefianError(f"Key input.weight: expected {limits} channels, found {channels}.", OTHER_NETWORK)
    modules = _count(state, r"body\.(\d+)\.", MOST_MODULES, "modules")
    blocks = _count(state, r"body\.0\.body_block\.(\d+)\.", MOST_BLOCKS, "blocks")
    upscaled = _required(state, "upscale.0.0.weight", dimensions=4).shape[0]
    first_factor = {4 * channels: 2, 9 * channels: 3}.get(upscaled)
    if first_factor is None:
        raise DefianError(
            f"Key upscale.0.0.weight: expected {4 * channels} or {9 * channels} output channels "
            f"(C={channels}, scale 2, 3 or 4), found {upscaled}.",
            OTHER_NETWORK,
        )
    second_stage = "upscale.0.2.weight" in state
    return Architecture(channels, blocks, modules, scale=first_factor * 2 if second_stage else first_factor)


def check_state(state: Mapping[str, Tensor], architecture: Architecture) -> None:
    """Compare every key and shape with the network of this architecture, and look for NaN and infinity.

    Raises:
        DefianError: naming the first key that differs, what was expected and what was found.
    """
    _require_shapes(state, architecture)
    _require_finite(state)


def shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Key -> shape of every tensor of a network, without building more of it than one module of one block."""
    with torch.device("meta"):
        one = DeFiAN(Architecture(architecture.channels, 1, 1, architecture.scale)).state_dict()
    shapes: dict[str, tuple[int, ...]] = {}
    for key, value in one.items():
        shape = tuple(value.shape)
        if key.startswith(_BLOCK):
            for module in range(architecture.modules):
                for block in range(architecture.blocks):
                    shapes[f"body.{module}.body_block.{block}.{key.removeprefix(_BLOCK)}"] = shape
        elif key.startswith(_MODULE):
            for module in range(architecture.modules):
                shapes[f"body.{module}.{key.removeprefix(_MODULE)}"] = shape
        else:
            shapes[key] = shape
    return shapes


def _require_shapes(state: Mapping[str, Tensor], architecture: Architecture) -> None:
    if architecture.scale not in (2, 3, 4):
        raise DefianError(f"Key upscale.0.2.weight: a DeFiAN of scale 3 has no second stage ({architecture}).")
    expected = shapes_of(architecture)
    for key, shape in expected.items():
        if key not in state:
            raise DefianError(
                f"Key {key}: expected shape {shape} for {architecture}, found no such key.", OTHER_NETWORK
            )
        found = tuple(state[key].shape)
        if found != shape:
            raise DefianError(f"Key {key}: expected shape {shape} for {architecture}, found {found}.", OTHER_NETWORK)
    surplus = next((key for key in state if key not in expected), None)
    if surplus is not None:
        shape = tuple(state[surplus].shape)
        raise DefianError(f"Key {surplus[:80]}: {architecture} has no such key, found shape {shape}.", OTHER_NETWORK)


def _require_finite(state: Mapping[str, Tensor]) -> None:
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise DefianError(f"Key {key}: expected finite values, found NaN or Inf.", "Train or download it again.")


def _require_plain(key: str, value: Tensor) -> None:
    """Refuse what is no array of floats on the CPU with a number for each of its places.

    Raises:
        DefianError: with the key, and the type or layout.
    """
    kind = (
        "nested" if value.is_nested else "quantised" if value.is_quantized else str(value.layout).removeprefix("torch.")
    )
    if kind != "strided" or value.device.type != "cpu":
        found = kind if value.device.type == "cpu" else f"{value.device.type} (no values)"
        raise DefianError(f"Key {key[:80]}: expected a dense tensor, found a {found} one.", "Save plain float tensors.")
    if value.dtype not in FLOATS:
        expected = ", ".join(str(each).removeprefix("torch.") for each in FLOATS)
        found = str(value.dtype).removeprefix("torch.")
        raise DefianError(f"Key {key[:80]}: expected {expected}, found {found}.", "Save the weights as float32.")
    held = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > held:
        shape = tuple(value.shape)
        raise DefianError(
            f"Key {key[:80]}: expected {value.numel() * value.element_size()} bytes for shape {shape}, found {held}.",
            "Save tensors that hold all their values: value.contiguous().",
        )


def _required(state: Mapping[str, Tensor], key: str, dimensions: int) -> Tensor:
    if key not in state:
        first = next(iter(state), "no keys at all")
        raise DefianError(
            f"Key {key}: every DeFiAN has it, found none (the file's first key: {first[:80]}).", OTHER_NETWORK
        )
    if state[key].dim() != dimensions:
        shape = tuple(state[key].shape)
        raise DefianError(f"Key {key}: expected {dimensions} dimensions, found shape {shape}.", OTHER_NETWORK)
    return state[key]


def _count(state: Mapping[str, Tensor], pattern: str, most: int, what: str) -> int:
    """How many there are, numbered from 0 without a gap."""
    texts = {match[1]: key for key in state if (match := re.match(pattern, key)) is not None}
    for text, key in texts.items():
        if len(text) > 6 or int(text) >= most:
            raise DefianError(
                f"Key {key[:80]}: expected at most {most} {what}, found number {text[:20]}.", OTHER_NETWORK
            )
    numbers = {int(text) for text in texts}
    missing = next((number for number in range(max(numbers, default=0)) if number not in numbers), None)
    if missing is not None:
        raise DefianError(f"Expected {what} from 0 to {max(numbers)}, found none of number {missing}.", OTHER_NETWORK)
    return len(numbers)
