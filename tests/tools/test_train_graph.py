"""Capturing and replaying a step, on stand-ins for PyTorch's CUDA calls; a real capture needs a GPU."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from defian_edge.calibration.photos import EvaluationPair
from defian_edge.models.defian import DeFiAN
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise, tiny
from tools.train.device import Runner, device_named
from tools.train.patches import BLOCK, PatchBank
from tools.train.schedule import Plan
from tools.train.step import Step

CPU = torch.device("cpu")
PLAN = Plan(0, 0.0, 1000)


class Recorder:
    """Counts replays, each of which makes the step; ``spoil`` is done to the gradient after one."""

    def __init__(self, step: Step, spoil=lambda gradient: gradient) -> None:
        self.step, self.spoil, self.replays, self.captures = step, spoil, 0, 0

    @contextmanager
    def capture(self, _graph):
        before, row = self.step.state.copy(), self.step.row.clone()
        yield
        self.step.state.restore(before)  # a capture runs nothing
        self.step.row.copy_(row)
        self.captures += 1

    def replay(self) -> None:
        self.step()
        self.step.gradient.copy_(self.spoil(self.step.gradient))
        self.replays += 1


@pytest.fixture
def step() -> Step:
    torch.manual_seed(0)
    bank = PatchBank([EvaluationPair("noise", noise(30, 30, 3), noise(60, 60, 3, seed=1))], 2, 12, CPU)
    return Step(DeFiAN(tiny()), bank, 2, CPU, bf16=False)


def runner_on(recorder: Recorder, monkeypatch, said: list[str]) -> Runner:
    stream = SimpleNamespace(wait_stream=lambda _: None)
    for name, stand_in in {
        "CUDAGraph": lambda: recorder,
        "graph": recorder.capture,
        "Stream": lambda _: stream,
        "current_stream": lambda _: stream,
        "stream": lambda _: nullcontext(),
        "synchronize": lambda _=None: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    recorder.step.device = SimpleNamespace(type="cuda")  # type: ignore[assignment]
    options = SimpleNamespace(compiled=False, compile_seconds=60.0, graph=True, seed=0, rate=1e-3, warm_up=5)
    return Runner(recorder.step, options, said.append)  # type: ignore[arg-type]


def test_getting_ready_changes_nothing_and_steps_are_replays(step, monkeypatch):
    recorder, said = Recorder(step), []
    before = step.state.copy()
    runner = runner_on(recorder, monkeypatch, said)
    runner.prepare()
    assert all(torch.equal(value, before[name]) for name, value in step.state.copy().items())
    assert not said
    assert recorder.captures == recorder.replays == 1
    runner.run(0, 6, PLAN)
    assert recorder.replays == 7
    assert float(step.state.applied) == 6


def test_replays_train_as_steps_one_by_one_do(step, monkeypatch):
    plain = Step(DeFiAN(tiny()), step.bank, 2, CPU, bf16=False)
    plain.state.restore(step.state.copy())
    options = SimpleNamespace(compiled=False, compile_seconds=60.0, graph=False, seed=0, rate=1e-3, warm_up=5)
    one_by_one = Runner(plain, options, print)  # type: ignore[arg-type]
    one_by_one.prepare()
    runner = runner_on(Recorder(step), monkeypatch, [])
    runner.prepare()
    for first in (BLOCK - 3, BLOCK):  # over the end of a block of draws
        one_by_one.run(first, 3, PLAN)
        runner.run(first, 3, PLAN)
    assert all(torch.equal(value, plain.state.copy()[name]) for name, value in step.state.copy().items())


@pytest.mark.parametrize("spoil", [lambda gradient: gradient * 1.2, lambda gradient: gradient * float("nan")])
def test_a_graph_with_another_gradient_is_not_used(step, monkeypatch, spoil):
    recorder, said = Recorder(step, spoil), []
    runner = runner_on(recorder, monkeypatch, said)
    runner.prepare()
    assert "capturing a CUDA graph failed" in runner.remarks[0]
    assert "its gradient differs" in said[0]
    runner.run(0, 2, PLAN)
    assert recorder.replays == 1
    assert float(step.state.applied) == 2


def test_a_capture_that_does_not_end_is_broken_off(step, monkeypatch):
    class Slow(Recorder):
        @contextmanager
        def capture(self, _graph):
            time.sleep(60)
            yield

    runner = runner_on(Slow(step), monkeypatch, [])
    runner.prepare(seconds=0.2)
    assert runner.remarks[0].endswith("TimeIsUpError: not done after 0.2 s")
    runner.run(0, 2, PLAN)
    assert float(step.state.applied) == 2


def test_too_many_patches_for_the_memory_are_one_message(step, monkeypatch):
    runner = runner_on(Recorder(step), monkeypatch, [])

    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Runner, "_warm_up", lambda _: full())
    with pytest.raises(DefianError, match="A step of 2 patches does not fit"):
        runner.prepare()


def test_a_device_that_is_not_there_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(DefianError, match="finds no CUDA device"):
        device_named("cuda")
    assert device_named("auto") == CPU


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_on_a_gpu_a_captured_step_trains_as_launched_ones_do(compiled):
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no CUDA device")
    device, losses = device_named("cuda"), []
    for graph in (False, True):
        torch.manual_seed(0)
        bank = PatchBank([EvaluationPair("noise", noise(64, 64, 3), noise(128, 128, 3, seed=1))], 2, 32, device)
        step = Step(DeFiAN(tiny()), bank, 4, device, bf16=compiled)
        said: list[str] = []
        options = SimpleNamespace(
            compiled=compiled and graph, compile_seconds=300.0, graph=graph, seed=0, rate=1e-3, warm_up=5
        )
        runner = Runner(step, options, said.append)  # type: ignore[arg-type]
        runner.prepare()
        assert not said
        runner.run(0, 50, PLAN)
        assert float(step.state.skipped) == 0
        losses.append(float(step.state.loss_sum))
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
