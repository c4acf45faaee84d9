"""What one step launches and moves, part by part, without a GPU: ``python -m tools.train.counts``.

Every operation that PyTorch dispatches and that is no view is one kernel on a GPU or nearly so; its bytes are those of
the tensors it reads and writes. Caches can make them cheaper than memory, never fewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from defian_edge.calibration.photos import EvaluationPair
from defian_edge.models.defian import DeFiAN, small
from tools.train.hessian import PLAIN, EigenvalueMaps
from tools.train.network import CODER, attention, ending, residual_block
from tools.train.patches import PatchBank
from tools.train.step import Step
from tools.train.update import update

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, PATCH, SCALE = 16, 64, 2
CPU = torch.device("cpu")
VIEWS = {
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "expand",
    "lift_fresh",
    "new_empty",
    "new_empty_strided",
    "permute",
    "reshape",
    "select",
    "slice",
    "split",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "unsqueeze",
    "view",
}


class Count(TorchDispatchMode):
    """Counts operations and their bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401 - PyTorch's
        """Do it and count it."""
        result = function(*args, **(kwargs or {}))
        if str(function).split(".")[1] not in VIEWS:
            self.operations += 1
            tensors = [each for each in tree_leaves((args, kwargs, result)) if isinstance(each, Tensor)]
            self.bytes += sum(each.numel() * each.element_size() for each in tensors)
        return result


def count(call: Callable[[], Tensor | None], inputs: list[Tensor] | None = None) -> Count:
    """Of a call, and of its backward pass if there are inputs to differentiate by."""
    with Count() as counted:
        result = call()
    if inputs is not None and result is not None:
        slope = torch.ones_like(result)
        with counted:
            torch.autograd.grad(result, inputs, slope)
    return counted


def parts(batch: int = BATCH, patch: int = PATCH) -> dict[str, tuple[int, Count]]:
    """How often each part of a step of DeFiAN-S x2 occurs, and what it does once."""
    torch.manual_seed(0)
    architecture = small(SCALE)
    noise = np.random.default_rng(0).integers(0, 256, (patch * SCALE, patch * SCALE, 3), dtype=np.uint8)
    bank = PatchBank([EvaluationPair("noise", noise[:patch, :patch], noise)], SCALE, patch, CPU)
    step = Step(DeFiAN(architecture), bank, batch, CPU, bf16=True)
    step.draws.copy_(bank.draws(0, 0, batch))
    weights = step.leaves

    def several(*names: str) -> list[Tensor]:
        full = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
        return [weights[name] for name in full if name in weights]

    block = several(*(f"body.0.body_block.0.{part}" for part in ("block.0", "block.2", "calayer.0", "calayer.2")))
    coder = several(*(f"body.0.coder.0.{part}" for part in CODER))
    coder += several(*(f"body.0.dac.0.{part}" for part in ("mean.0", "mean.2", "std.0", "std.2")))
    ends = several("tail", "output", "upscale.0.0")
    x, r = (_maps(batch, architecture.channels, patch, torch.bfloat16) for _ in range(2))
    v, hr = (_maps(batch, 3, side, torch.float32) for side in (patch, patch * SCALE))
    gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    zero = torch.zeros(())

    def patches() -> None:
        lr, high = bank.gather(step.draws[0])
        step.normalised(lr)
        step.normalised(high)

    def finish() -> None:
        step.layout.gather_gradients(gradients, step.gradient, torch.zeros(32))
        update(step.state, step.gradient, zero, zero, step.rule)

    modules = architecture.modules
    found = {
        "block": (architecture.blocks * modules, count(lambda: residual_block(x, *block), [x, *block])),
        "Hessian": (modules, count(lambda: EigenvalueMaps.apply(x, PLAIN), [x])),
        "attention": (modules, count(lambda: attention(x, r, v, *coder), [x, r, v, *coder])),
        "ending": (1, count(lambda: ending(x, r, hr, *ends), [x, r, *ends])),
    }
    with torch.no_grad():
        return {**found, "patches": (1, count(patches)), "update": (1, count(finish))}


def _maps(batch: int, channels: int, side: int, kind: torch.dtype) -> Tensor:
    maps = torch.rand(batch, channels, side, side).to(kind)
    return maps.contiguous(memory_format=torch.channels_last).requires_grad_()


def main() -> None:
    """Print a Markdown table."""
    print("| part | times | operations | GB |\n|---|---|---|---|")
    total = [0, 0.0]
    for name, (times, counted) in parts().items():
        row = times * counted.operations, times * counted.bytes / 1e9
        total = [total[0] + row[0], total[1] + row[1]]
        print(f"| {name} | {times} | {row[0]} | {row[1]:.2f} |")
    print(f"| all | | {total[0]} | {total[1]:.2f} |")


if __name__ == "__main__":
    main()
