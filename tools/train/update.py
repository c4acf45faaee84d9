"""Adam with a clipped gradient and a moving average of the weights, on one vector and without asking the device back.

Adam as D. Kingma and J. Ba, ICLR 2015, algorithm 1. A step whose gradient is not finite changes nothing and is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

VECTORS = ("master", "first", "second", "average")
COUNTERS = ("applied", "skipped", "loss_sum", "loss_count")


@dataclass(frozen=True)
class Rule:
    """How weights are updated.

    Attributes:
        beta1, beta2, epsilon: Adam's.
        clip: largest norm of the whole gradient.
        decay: of the moving average; the first steps use ``(1 + t) / (10 + t)`` if that is less.
    """

    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    clip: float = 1.0
    decay: float = 0.999


class State:
    """All that a step changes, on one device.

    Attributes:
        master: FP32 weights [n].
        first, second: Adam's moments [n].
        average: the moving average of the weights [n].
        applied, skipped: updates made, and left out for a gradient that was not finite; FP64 scalars.
        loss_sum, loss_count: since somebody last looked.
    """

    def __init__(self, master: Tensor) -> None:
        self.master = master
        self.first, self.second = torch.zeros_like(master), torch.zeros_like(master)
        self.average = master.clone()
        scalars = torch.zeros(len(COUNTERS), dtype=torch.float64, device=master.device)
        self.applied, self.skipped, self.loss_sum, self.loss_count = scalars.unbind(0)

    def tensors(self) -> dict[str, Tensor]:
        """By name, as they lie on the device."""
        return {name: getattr(self, name) for name in (*VECTORS, *COUNTERS)}

    def copy(self) -> dict[str, Tensor]:
        """Copies on the CPU by name."""
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.tensors().items()}

    def restore(self, saved: Mapping[str, Tensor]) -> None:
        """Take values from :meth:`copy`, in place."""
        for name, tensor in self.tensors().items():
            tensor.copy_(saved[name])


@torch.no_grad()
def update(state: State, gradient: Tensor, loss: Tensor, rate: Tensor, rule: Rule) -> None:
    """One step in place.

    Args:
        state: what is changed.
        gradient: FP32 [n]; overwritten.
        loss: scalar.
        rate: the learning rate, a scalar on the device.
        rule: constants.
    """
    norm = torch.linalg.vector_norm(gradient)
    fine = torch.isfinite(norm) & torch.isfinite(loss)
    shrink = torch.clamp(rule.clip / (norm + 1e-6), max=1.0)
    gradient.copy_(torch.where(fine, gradient * shrink, torch.zeros_like(gradient)))
    state.applied += fine
    state.skipped += ~fine
    state.loss_count += fine
    state.loss_sum += torch.where(fine, loss.double(), torch.zeros_like(state.loss_sum))
    share = fine.float()  # 0 leaves everything as it was: all that is multiplied is finite here
    state.first.lerp_(gradient, (1 - rule.beta1) * share)
    state.second.lerp_(gradient * gradient, (1 - rule.beta2) * share)
    correction1 = 1 - rule.beta1**state.applied
    correction2 = 1 - rule.beta2**state.applied
    size = (rate * share / correction1.clamp(min=1e-12)).float()
    root = (state.second / correction2.clamp(min=1e-12).float()).sqrt_().add_(rule.epsilon)
    state.master.sub_(size * state.first / root)
    decay = torch.clamp((1 + state.applied) / (10 + state.applied), max=rule.decay)
    state.average.lerp_(state.master, ((1 - decay) * share).float())
