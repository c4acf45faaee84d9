"""What a training is asked to do, checked as far as the words alone allow."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from operator import gt
from pathlib import Path  # noqa: TC003 - a dataclass field
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.arguments import shown
from defian_edge.runtime.errors import DefianError
from tools.train.resampling import FILTERS

if TYPE_CHECKING:
    from defian_edge.models.defian import Architecture

MOST_CHANNELS = 1024
PRECISIONS = ("bf16", "fp32")
IDENTITY = ("scale", "size", "batch", "patch", "rate", "warm_up", "seed", "lr_filter", "holdout", "precision")
"""Options that a resumed training must share with the one it goes on with."""


@dataclass(frozen=True)
class Defaults:
    """What pays on a device."""

    batch: int
    patch: int
    save_seconds: float


ON_GPU = Defaults(batch=16, patch=64, save_seconds=30.0)
ON_CPU = Defaults(batch=8, patch=32, save_seconds=60.0)


@dataclass(frozen=True)
class TrainOptions:
    """Options of the command line after the device's defaults were filled in.

    Attributes:
        scale, size: of the network; size is S, L or CHANNELSxBLOCKSxMODULES.
        pictures: folder of HR pictures to train on; only a benchmark does without.
        out: folder of all results.
        minutes, steps: when to stop, one of the two; minutes count from the start of the process.
        batch, patch: patches a step, and their side in LR pixels.
        rate, warm_up: peak learning rate, and the steps until it is reached.
        seed: of first weights, patches and turns.
        lr_filter: what makes LR of HR.
        holdout: training pictures kept for validation; None: every twentieth.
        precision: bf16 or fp32 convolutions.
        compiled: torch.compile for the network's parts.
        triton: hand-written kernels on a GPU, where they give PyTorch's results.
        compile_seconds: that one of these, a level of compiling, and the capture of a CUDA graph, may take.
        deterministic: only algorithms that give the same bits each time, also on a GPU.
        graph: on a GPU, a step is one CUDA graph.
        init: checkpoint to start from.
        resume: go on with what is in ``out``.
        validation: folder of HR pictures; lr_pictures, hr_pictures: folders of pairs.
        validations: how often at most, the first and the last included.
        save_seconds: between checkpoints.
        json: a second place for the summary.
        command: as it was typed.
    """

    scale: int
    size: str
    pictures: Path | None
    out: Path
    minutes: float | None
    steps: int | None
    batch: int
    patch: int
    rate: float
    warm_up: int
    seed: int
    lr_filter: str
    holdout: int | None
    precision: str
    compiled: bool
    triton: bool
    compile_seconds: float
    deterministic: bool
    graph: bool
    init: Path | None
    resume: bool
    validation: Path | None
    lr_pictures: Path | None
    hr_pictures: Path | None
    validations: int
    save_seconds: float
    json: Path | None
    command: str

    def __post_init__(self) -> None:
        """Raises :class:`DefianError` for values that make no training."""
        self._check_numbers()
        for option, text, choices in (
            ("--lr-filter", self.lr_filter, FILTERS),
            ("--precision", self.precision, PRECISIONS),
        ):
            if text not in choices:
                raise DefianError(f"{option} {shown(text)}: expected one of {', '.join(choices)}.")
        if (self.minutes is None) == (self.steps is None):
            raise DefianError("Expected one of --minutes and --steps.", "Say when to stop: --minutes 60.")
        if self.resume and self.init is not None:
            raise DefianError("--resume goes on with its own weights, --init starts from others.", "Give one of them.")

    def _check_numbers(self) -> None:
        if self.scale not in (2, 3, 4):
            raise DefianError(f"--scale {self.scale}: expected 2, 3 or 4.")
        for option in ("minutes", "steps", "rate", "compile_seconds", "save_seconds"):
            value = getattr(self, option)
            if value is not None and not 0 < value < float("inf"):
                raise DefianError(f"--{option.replace('_', '-')} {value}: expected a positive number.")
        for option, least in (("batch", 1), ("patch", 8), ("warm_up", 0), ("seed", 0), ("validations", 0)):
            if getattr(self, option) < least:
                raise DefianError(f"--{option.replace('_', '-')} {getattr(self, option)}: expected at least {least}.")
        if self.holdout is not None and self.holdout < 0:
            raise DefianError(f"--holdout {self.holdout}: expected at least 0.")

    def architecture(self) -> Architecture:
        """The network that the scale and the size name.

        Raises:
            DefianError: the size names none.
        """
        from defian_edge.models.checkpoint import MOST_BLOCKS, MOST_MODULES
        from defian_edge.models.defian import REDUCTION, Architecture, large, small

        if self.size.upper() in ("S", "L"):
            return small(self.scale) if self.size.upper() == "S" else large(self.scale)
        match = re.fullmatch(r"([0-9]{1,4})x([0-9]{1,4})x([0-9]{1,4})", self.size)
        numbers = [int(number) for number in match.groups()] if match else []
        most = (MOST_CHANNELS, MOST_BLOCKS, MOST_MODULES)
        if not numbers or min(numbers) < 1 or numbers[0] % REDUCTION or any(map(gt, numbers, most)):
            raise DefianError(
                f"--size {shown(self.size)}: expected S, L or CHANNELSxBLOCKSxMODULES with channels in sixteens, as "
                f"32x10x5, of at most {'x'.join(map(str, most))}."
            )
        return Architecture(*numbers, scale=self.scale)

    def identity(self) -> dict[str, Any]:
        """What must be the same when a training is resumed."""
        everything = asdict(self)
        return {name: everything[name] for name in IDENTITY}
