"""What runs steps: on a GPU one CUDA graph a step, elsewhere the step itself; what fails there is told, not fatal."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import set_multithreading_enabled

from defian_edge.runtime.arguments import shown
from defian_edge.runtime.errors import DefianError
from tools.train.fused import block_kernels, hessian_kernels
from tools.train.limits import TimeIsUpError, time_limit
from tools.train.network import Regions
from tools.train.patches import BLOCK
from tools.train.schedule import rate_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.train.options import TrainOptions
    from tools.train.schedule import Plan
    from tools.train.step import Step

SAME = 0.05
"""Share by which a captured step's gradient may differ: convolutions add up in varying order, in bf16."""
WARM_UP_STEPS = 3
"""Before a capture: convolution algorithms are chosen and functions compiled in them; they train nothing."""


def device_named(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda``.

    Raises:
        DefianError: there is no such device here.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise DefianError(f"--device {shown(name)}: expected auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DefianError(
            "--device cuda: PyTorch finds no CUDA device here.", "Leave --device out, or check the driver."
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def words(device: torch.device) -> str:
    """What it is, for a person."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bf16 convolutions are faster there than FP32 ones, because the hardware has them."""
    return device.type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - no public way


def set_up(options: TrainOptions) -> None:
    """Choose convolution algorithms by timing them, or always the same ones; FP32 means FP32 if it was asked for."""
    torch.backends.cudnn.benchmark = not options.deterministic
    torch.backends.cudnn.deterministic = options.deterministic
    torch.backends.cudnn.allow_tf32 = options.precision == "bf16"


class Runner:
    """Runs a :class:`Step` many times.

    Attributes:
        step: what is run.
        compile_seconds, capture_seconds: what getting ready took, warm-up steps included in the first.
        remarks: a sentence for everything that did not work and was done more slowly.
        computed_by: by part of the network: "Triton", "torch.compile", or "PyTorch" and why.
    """

    def __init__(self, step: Step, options: TrainOptions, say: Callable[[str], None]) -> None:
        self.step = step
        self.compile_seconds = self.capture_seconds = 0.0
        self.remarks: list[str] = []
        self.computed_by: dict[str, str] = {}
        self._say = say
        self._options = options
        self._graph: torch.cuda.CUDAGraph | None = None
        self._block = -1
        self._level = 0

    def prepare(self, seconds: float | None = None) -> None:
        """Prove hand-written kernels, compile, warm up and capture. The state is afterwards what it was before.

        Args:
            seconds: that kernels and compiling at all levels may take together, and capturing; each kernel, each
                level, and capturing, has at most ``--compile-seconds`` of them.
        """
        self._fill(0)
        before = self.step.state.copy()
        begun = time.monotonic()
        proven = self._proven_kernels(seconds)
        highest = 0 if not self._options.compiled else 1 if "eigenvalues" in proven else 2
        for level in range(highest, -1, -1):
            self._level = level
            try:
                parts = {name: part for name, part in proven.items() if level == 0 or name != "block"}
                self.step.regions = replace(_regions(level), **parts)
                left = None if seconds is None else begun + seconds - time.monotonic()
                with time_limit(self._at_most(left) if level else None), self._backward_here():
                    self._warm_up()
                break
            except torch.OutOfMemoryError as error:
                raise DefianError(
                    f"A step of {self.step.batch} patches does not fit into the device's memory.",
                    "Take a smaller --batch.",
                ) from error
            except (Exception, TimeIsUpError) as error:
                if level == 0:
                    raise
                self._tell(f"torch.compile failed at level {level}, training tries level {level - 1}", error)
                _forget_compiled()
                self._synchronise()
        if self._level >= 1:
            self.computed_by["residual block"] = "torch.compile"
        if self._level >= 2 and "eigenvalues" not in proven:
            self.computed_by["Hessian"] = "torch.compile"
        self.compile_seconds = time.monotonic() - begun
        if self.step.device.type == "cuda" and self._options.graph:
            begun = time.monotonic()
            try:
                with time_limit(self._at_most(seconds)), self._backward_here():
                    self._graph = self._captured()
            except (Exception, TimeIsUpError) as error:
                self._tell("capturing a CUDA graph failed, steps are launched one kernel at a time", error)
                self._synchronise()
            self.capture_seconds = time.monotonic() - begun
        self.step.state.restore(before)
        self._synchronise()

    def run(self, first: int, count: int, plan: Plan) -> None:
        """Steps ``first`` to ``first + count``, which lie in one block of draws; waits until they are done."""
        row = first % BLOCK
        self._fill(first // BLOCK)
        rates = [rate_at(plan, step, self._options.rate, self._options.warm_up) for step in range(first, first + count)]
        self.step.rates[row : row + count].copy_(torch.tensor(rates, dtype=torch.float32))
        self.step.row.fill_(row)
        with self._backward_here():
            for _ in range(count):
                if self._graph is None:
                    self.step()
                else:
                    self._graph.replay()
        self._synchronise()

    def _proven_kernels(self, seconds: float | None) -> dict[str, Any]:
        """The hand-written kernels that may be used, by :class:`Regions`' field; in the main thread, for the alarm."""
        step, found, begun = self.step, {}, time.monotonic()
        shape = (step.batch, step.architecture.channels, step.bank.patch, step.bank.patch)
        for part, field, kernels in (
            ("Hessian", "eigenvalues", hessian_kernels),
            ("residual block", "block", block_kernels),
        ):
            if not self._options.triton:
                self.computed_by[part] = "PyTorch: --no-triton"
                continue
            try:
                left = None if seconds is None else begun + seconds - time.monotonic()
                with time_limit(self._at_most(left)):
                    found[field] = kernels(step.device, shape, step.kind)
                self.computed_by[part] = "Triton"
            except (Exception, TimeIsUpError) as error:
                self.computed_by[part] = f"PyTorch: {_first_line(error)}"
                if step.device.type == "cuda":
                    self._tell(f"the {part} runs by PyTorch's operations, not by its own kernels", error)
                    self._synchronise()
        return found

    def _at_most(self, seconds: float | None) -> float:
        limit = self._options.compile_seconds
        return limit if seconds is None else min(limit, seconds)

    def _backward_here(self) -> set_multithreading_enabled:
        """Where something is compiled, run the backward pass in this thread and not in one of PyTorch's for the GPU.

        A backward graph is compiled at its first use. While another thread does that, this one waits in C, and neither
        an alarm nor a signal reaches it.
        """
        return set_multithreading_enabled(self._level == 0)

    def _warm_up(self) -> None:
        """On a side stream, as a capture asks for."""
        count = WARM_UP_STEPS if self.step.device.type == "cuda" else int(self._options.compiled)
        with _side_stream(self.step.device):
            for _ in range(count):
                self.step.row.fill_(0)
                self.step()
        self._synchronise()

    def _captured(self) -> torch.cuda.CUDAGraph:
        """A graph whose gradient is that of the warm-up's last step: rates are still zero, weights have not moved."""
        expected = self.step.gradient.clone()
        graph = torch.cuda.CUDAGraph()
        self.step.row.fill_(0)
        self._synchronise()
        with torch.cuda.graph(graph):
            self.step()
        self.step.row.fill_(0)
        graph.replay()
        self._synchronise()
        difference = float(torch.linalg.vector_norm(self.step.gradient - expected))
        size = float(torch.linalg.vector_norm(expected))
        if not difference <= SAME * size:
            raise RuntimeError(f"its gradient differs by {difference:.3g} from one of norm {size:.3g}")
        return graph

    def _fill(self, block: int) -> None:
        if block != self._block:
            self.step.draws.copy_(self.step.bank.draws(self._options.seed, block, self.step.batch))
            self._block = block

    def _tell(self, sentence: str, error: BaseException) -> None:
        self.remarks.append(f"{sentence}: {type(error).__name__}: {_first_line(error)}")
        self._say(f"WARNING: {self.remarks[-1]}")

    def _synchronise(self) -> None:
        if self.step.device.type == "cuda":
            torch.cuda.synchronize(self.step.device)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _regions(level: int) -> Regions:
    """Those of a level. The compiler is loaded here, where no alarm rings: half a package cannot be loaded again."""
    if level:
        import_module("torch._inductor.compile_fx")
    return Regions.of(level)


def _forget_compiled() -> None:
    """Start from nothing, with workers of its own: those of a compilation that was broken off are gone."""
    with suppress(Exception):
        for module, name in (("torch._dynamo", "reset"), ("torch._inductor.async_compile", "shutdown_compile_workers")):
            if module in sys.modules:
                getattr(sys.modules[module], name)()


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        yield
    torch.cuda.current_stream(device).wait_stream(side)
