"""What training leaves on disk: its own checkpoint to go on from, and weights in the authors' format.

Each file appears whole or not at all, so that a kill at any moment leaves the last good one.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.models.defian import DeFiAN
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import write_whole
from tools.train.network import complete
from tools.train.schedule import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from defian_edge.models.defian import Architecture
    from tools.train.options import TrainOptions

TRAINING_FILE = "last.train.pt"
KIND = "defian training 1"


@dataclass(frozen=True)
class Saved:
    """A training at the end of some step.

    Attributes:
        identity: options that must be the same to go on.
        data: hash of the training pictures' pixels.
        step: steps made.
        seconds: that they took, all pieces together.
        plan: of the learning rate; None until the end is known.
        state: vectors and counters of :class:`tools.train.update.State`, on the CPU.
    """

    identity: dict[str, Any]
    data: str
    step: int
    seconds: float
    plan: Plan | None
    state: dict[str, Tensor]


def save_training(folder: Path, saved: Saved) -> None:
    """Write the training's own checkpoint.

    Raises:
        DefianError: it cannot be written; the one before stays.
    """
    content = {**vars(saved), "kind": KIND, "plan": None if saved.plan is None else asdict(saved.plan)}
    _write(folder / TRAINING_FILE, content)


def load_training(folder: Path, options: TrainOptions, data: str) -> Saved:
    """Read it again and check that these options and these pictures go on with it.

    Raises:
        DefianError: there is none, it is broken, or the options or pictures differ; the message names the first.
    """
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise DefianError(f"There is no training to resume: no {path}.", "Leave --resume out to begin one.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DefianError(
            f"{path} cannot be read ({first}).", "Begin anew, with --init WEIGHTS if there are."
        ) from error
    if not isinstance(content, dict) or content.pop("kind", None) != KIND:
        raise DefianError(f"{path} is no training of this program.", "Begin anew in another --out.")
    plan = content.pop("plan")
    saved = Saved(**content, plan=None if plan is None else Plan(**plan))
    for name, value in options.identity().items():
        found = saved.identity.get(name)
        if found != value:
            option = f"--{name.replace('_', '-')}"
            raise DefianError(
                f"{path} was made with {option} {found}, now it is {value}.",
                f"Resume with {option} {found}, or begin anew in another --out with --init.",
            )
    if saved.data != data:
        raise DefianError(
            f"{path} was trained on other pictures than those given now.",
            "Give the same pictures, or begin anew in another --out with --init.",
        )
    return saved


def weights_name(architecture: Architecture) -> str:
    """Stem of the weights' files, as the bundled ones are called."""
    size = architecture.size.lower()
    if size == "custom":
        size = f"{architecture.channels}x{architecture.blocks}x{architecture.modules}"
    return f"defian-{size}-x{architecture.scale}"


def save_weights(folder: Path, trained: Mapping[str, Tensor], architecture: Architecture, step: int) -> None:
    """Write weights as ``.safetensors`` and as the authors' ``.pth``; ``epoch`` counts steps.

    Raises:
        DefianError: they cannot be written; the ones before stay.
    """
    import safetensors.torch

    state = {name: value.contiguous() for name, value in complete(trained, architecture).items()}
    stem = weights_name(architecture)
    write_whole(folder / f"{stem}.safetensors", safetensors.torch.save(state))
    _write(folder / f"{stem}.pth", {"epoch": step, "state_dict": state})


def first_network(architecture: Architecture, seed: int, init: Path | None) -> tuple[DeFiAN, list[str]]:
    """The network that training begins with, and the names of the tensors that a checkpoint did not give.

    A checkpoint of another scale gives all but the upscaler, which begins with the kernels of the nearest sub-pixels.

    Raises:
        DefianError: the checkpoint is none, or of another network.
    """
    torch.manual_seed(seed)
    network = DeFiAN(architecture)
    if init is None:
        return network, []
    checkpoint = load_checkpoint(init)
    theirs, ours = checkpoint.architecture, architecture
    if (theirs.channels, theirs.blocks, theirs.modules) != (ours.channels, ours.blocks, ours.modules):
        raise DefianError(
            f"{init} is {theirs}, expected weights of {ours} or of its like at another scale.",
            "Give --size the checkpoint's, or another --init.",
        )
    state = network.state_dict()
    same = theirs.scale == ours.scale
    kept = {name: value for name, value in checkpoint.state.items() if same or not name.startswith("upscale.")}
    new = [name for name in state if name not in kept]
    upscalers = _upscalers(checkpoint.state["upscale.0.0.weight"], [state[name].shape[0] for name in new])
    network.load_state_dict({**kept, **dict(zip(new, upscalers, strict=True))})
    return network, new


def _upscalers(weight: Tensor, outputs: list[int]) -> list[Tensor]:
    """Upscalers [C f^2, C, 3, 3] after another scale's: the first of its nearest sub-pixels, a second one bilinear."""
    channels = weight.shape[1]
    old = round((weight.shape[0] / channels) ** 0.5)
    kernels = weight.view(channels, old, old, *weight.shape[1:])
    made = []
    for stage, count in enumerate(outputs):
        factor = round((count / channels) ** 0.5)
        if stage == 0:
            nearest = [int((index + 0.5) * old / factor) for index in range(factor)]
            kernel = kernels[:, nearest][:, :, nearest]
        else:
            line = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
            kernel = torch.einsum("oi,ax,by->oabixy", torch.eye(channels), line, line)
        made.append(kernel.reshape(count, *weight.shape[1:]))
    return made


def _write(path: Path, content: object) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())
