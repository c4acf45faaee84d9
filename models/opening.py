"""A checkpoint from whatever there is: a bundled name, a file, or a network that is loaded already."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save

from defian_edge.models.bundled import resolve_model
from defian_edge.models.checkpoint import Checkpoint, check_state, describe, load_checkpoint
from defian_edge.models.wrapped import unwrap
from defian_edge.runtime.errors import DefianError

Source = str | Path | torch.nn.Module | Checkpoint
"""What :func:`open_checkpoint` takes."""


def open_checkpoint(source: Source) -> Checkpoint:
    """The checkpoint behind a bundled name or a path, or of a network in memory.

    Raises:
        DefianError: there is no such file, it is damaged, or it is no DeFiAN; see
            :func:`defian_edge.models.checkpoint.load_checkpoint`.
    """
    if isinstance(source, Checkpoint):
        return source
    if isinstance(source, torch.nn.Module):
        return _of_network(source)
    if isinstance(source, (str, Path)):
        return load_checkpoint(resolve_model(str(source)))
    raise DefianError(
        f"Expected a bundled name, the path of a checkpoint, or a torch.nn.Module, found {type(source).__name__}."
    )


def _of_network(network: torch.nn.Module) -> Checkpoint:
    """The weights of any module with the authors' state-dict names, behind prefixes or not; a copy of them.

    Its hash is that of the file that ``safetensors.torch.save_file`` makes of these weights in float32.
    """
    values = {key: value.detach().to("cpu", torch.float32, copy=True) for key, value in network.state_dict().items()}
    raw = unwrap(values, Path(type(network).__name__))
    state = {key: value.contiguous() for key, value in raw.items()}
    architecture = describe(state)
    check_state(state, architecture)
    digest = hashlib.sha256(save(state)).hexdigest()
    return Checkpoint(architecture, state, digest, f"network-x{architecture.scale}")
