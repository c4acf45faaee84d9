"""Load DeFiAN checkpoints: the authors' ``.pth``, or ``.safetensors``; never executes pickled code."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from defian_edge.models.defian import Architecture, DeFiAN
from defian_edge.runtime.errors import DefianError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WRAPPER_PREFIX = "module."
_OTHER_NETWORK = "Give a checkpoint of DeFiAN in the authors' format, or a bundled name (export.py --list-models)."


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a DeFiAN, checked against the architecture that their own keys describe.

    Attributes:
        architecture: C, M, N and the scale, read from the keys.
        state: float32 tensors under the authors' state-dict names, without ``module.``.
        sha256: of the file's bytes.
        name: the file's stem, or the bundled name.
    """

    architecture: Architecture
    state: dict[str, Tensor]
    sha256: str
    name: str

    def network(self) -> DeFiAN:
        """The reference network with these weights, in evaluation mode on the CPU."""
        network = DeFiAN(self.architecture)
        network.load_state_dict(self.state, strict=True)
        return network.eval()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read, describe and check a checkpoint.

    Raises:
        DefianError: the file is missing, truncated, holds pickled code, or is no DeFiAN; the message names
            the first key that differs with the shape expected and found.
    """
    if not path.is_file():
        raise DefianError(f"No checkpoint at {path}.", "Give a .pth or .safetensors file, or a bundled model name.")
    if path.suffix == ".safetensors":
        raw = _read_safetensors(path)
    elif path.suffix in (".pth", ".pt"):
        raw = _read_pickle(path)
    else:
        raise DefianError(f"{path} has the suffix {path.suffix!r}; a checkpoint is .pth, .pt or .safetensors.")
    state = {key.removeprefix(WRAPPER_PREFIX): value.to(torch.float32) for key, value in raw.items()}
    architecture = describe(state)
    check_state(state, architecture)
    return Checkpoint(architecture, state, hashlib.sha256(path.read_bytes()).hexdigest(), path.stem)


def describe(state: Mapping[str, Tensor]) -> Architecture:
    """Read C, M, N and the scale from the keys and shapes of a state dict.

    Raises:
        DefianError: a key without which there is no DeFiAN is missing or has an unusable shape.
    """
    channels = _required(state, "input.weight", dimensions=4).shape[0]
    modules = _count(state, r"body\.(\d+)\.")
    blocks = _count(state, r"body\.0\.body_block\.(\d+)\.")
    upscaled = _required(state, "upscale.0.0.weight", dimensions=4).shape[0]
    first_factor = {4 * channels: 2, 9 * channels: 3}.get(upscaled)
    if first_factor is None:
        raise DefianError(
            f"Key upscale.0.0.weight: expected {4 * channels} or {9 * channels} output channels "
            f"(C={channels}, scale 2, 3 or 4), found {upscaled}.",
            _OTHER_NETWORK,
        )
    second_stage = "upscale.0.2.weight" in state
    return Architecture(channels, blocks, modules, scale=first_factor * 2 if second_stage else first_factor)


def check_state(state: Mapping[str, Tensor], architecture: Architecture) -> None:
    """Compare every key and shape with the network of this architecture.

    Raises:
        DefianError: naming the first key that differs, what was expected and what was found.
    """
    if architecture.scale not in (2, 3, 4):
        raise DefianError(f"Key upscale.0.2.weight: a DeFiAN of scale 3 has no second stage ({architecture}).")
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in DeFiAN(architecture).state_dict().items()}
    for key, shape in expected.items():
        if key not in state:
            raise DefianError(
                f"Key {key}: expected shape {shape} for {architecture}, found no such key.", _OTHER_NETWORK
            )
        found = tuple(state[key].shape)
        if found != shape:
            raise DefianError(f"Key {key}: expected shape {shape} for {architecture}, found {found}.", _OTHER_NETWORK)
        if not torch.isfinite(state[key]).all():
            raise DefianError(f"Key {key}: expected finite values, found NaN or Inf.", "Train or download it again.")
    surplus = next((key for key in state if key not in expected), None)
    if surplus is not None:
        shape = tuple(state[surplus].shape)
        raise DefianError(f"Key {surplus}: {architecture} has no such key, found shape {shape}.", _OTHER_NETWORK)


def _required(state: Mapping[str, Tensor], key: str, dimensions: int) -> Tensor:
    if key not in state:
        first = next(iter(state), "no keys at all")
        raise DefianError(
            f"Key {key}: every DeFiAN has it, found none (the file's first key: {first}).", _OTHER_NETWORK
        )
    if state[key].dim() != dimensions:
        shape = tuple(state[key].shape)
        raise DefianError(f"Key {key}: expected {dimensions} dimensions, found shape {shape}.", _OTHER_NETWORK)
    return state[key]


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    numbers = {int(match.group(1)) for key in state if (match := re.match(pattern, key)) is not None}
    return max(numbers, default=-1) + 1


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise DefianError(
            f"{path} was not loaded: it is no plain checkpoint, or unpickling it would run code "
            f"({str(error).splitlines()[0]}).",
            "Only tensors and plain containers are accepted. Re-save it with torch.save({'state_dict': ...}).",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise DefianError(
            f"{path} cannot be read as a checkpoint; it is truncated or not a PyTorch file ({_first_line(error)}).",
            "Copy or download the file again.",
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise DefianError(
            f"{path}: expected a state dict of tensors, or a dict with 'state_dict', found {type(content).__name__}.",
            _OTHER_NETWORK,
        )
    return {str(key): value for key, value in state.items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        import safetensors.torch
        from safetensors import SafetensorError
    except ImportError as error:
        raise MissingPackageError("safetensors", "export", "Reading a .safetensors checkpoint") from error
    try:
        return safetensors.torch.load_file(path, device="cpu")
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise DefianError(
            f"{path} cannot be read as safetensors; it is truncated or of another format ({_first_line(error)}).",
            "Copy or download the file again.",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
