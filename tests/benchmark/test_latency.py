from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from defian_edge.benchmark.candidates import open_candidates
from defian_edge.benchmark.measure.latency import DEVICE, PARTS, Sampling, doubts, measure_latency
from tests.benchmark.made_up import FakeClock, made_up

SHAPE = (4, 90, 160)


def working(clock: FakeClock, seconds: float):
    def run(images: np.ndarray) -> np.ndarray:
        clock.work(seconds)
        return images

    return run


def raced(sampling: Sampling, clock: FakeClock, **seconds: float):
    candidates = [made_up(name, working(clock, each)) for name, each in seconds.items()]
    return candidates, measure_latency(candidates, SHAPE, sampling, clock)


def test_a_planted_slowdown_is_found_and_two_copies_show_no_difference():
    _, measured = raced(Sampling(rounds=20, seconds=0), FakeClock(), base=0.010, copy=0.010, slow=0.011, fast=0.009)
    verdicts = {name: each.comparison and each.comparison.verdict for name, each in measured.items()}
    assert verdicts == {"base": None, "copy": "no difference", "slow": "slower", "fast": "faster"}
    slow = measured["slow"].comparison
    assert slow is not None
    assert slow.ratio == pytest.approx(1.1, abs=0.01)


def test_two_real_copies_of_a_graph_show_no_difference(artefacts, tmp_path):
    # Real sessions, opened, named and run as bench.py does it, on a clock that only their runs move: what a busy
    # machine does to the real clock says nothing about the comparison.
    shutil.copytree(artefacts, tmp_path / "copies")
    graph, copy = artefacts / "tiny.fp32.onnx", tmp_path / "copies" / "tiny.fp32.onnx"
    clock, pictures = FakeClock(), {}

    def clocked(candidate):
        def run(images):
            pictures[candidate.name] = candidate.run(images)
            clock.work(0.01)

        return replace(candidate, run=run)

    with ExitStack() as stack:
        opened = open_candidates([str(graph), str(copy)], "cpu", stack, threads=1)
        measured = measure_latency([clocked(each) for each in opened], (1, 12, 16), Sampling(40, 0, 0), clock)
        # The processor's time is nobody else's; still its caches are, so that only a gross mistake can be told.
        really = measure_latency(opened, (1, 12, 16), Sampling(40, 0, 0), time.process_time)
    first, second = measured
    assert (first, second) == ("tiny.fp32.onnx", "copies/tiny.fp32.onnx")
    compared = measured[second].comparison
    assert compared is not None
    assert compared.verdict == "no difference"
    assert (pictures[first] == pictures[second]).all()
    compared = really[second].comparison
    assert compared is not None
    assert 0.5 < compared.ratio < 2.0


def test_one_after_the_other_the_same_machine_would_have_told_a_difference():
    # The drift that taking turns cancels is large: the copy alone, timed after the base, looks slower.
    clock = FakeClock()
    first, second = (raced(Sampling(rounds=20, seconds=0), clock, one=0.010)[1]["one"] for _ in range(2))
    assert second.summary.median / first.summary.median > 1.03


def test_rounds_and_seconds_are_both_at_least_what_was_asked():
    steady = FakeClock(drift=0, jitter=0)
    _, measured = raced(Sampling(rounds=3, seconds=0.995, warm_up_seconds=0.5), steady, quick=0.01, slow=0.1)
    assert measured["quick"].summary.count == measured["slow"].summary.count == 100
    _, measured = raced(Sampling(rounds=30, seconds=0.1, warm_up_seconds=0), steady, quick=0.01)
    assert measured["quick"].summary.count == 30


def test_throughput_counts_images_and_output_pixels():
    _, measured = raced(Sampling(rounds=10, seconds=0), FakeClock(drift=0, jitter=0), one=0.5)
    assert measured["one"].images_per_second == pytest.approx(8.0)
    assert measured["one"].megapixels_per_second == pytest.approx(8.0 * 180 * 320 / 1e6)


def test_every_candidate_gets_the_same_batch():
    seen = []

    def run(images):
        seen.append(images.copy())
        return images

    measure_latency([made_up("a", run), made_up("b", run)], SHAPE, Sampling(2, 0, 0))
    assert all((each == seen[0]).all() for each in seen)
    assert (seen[0].shape, seen[0].dtype) == ((*SHAPE, 3), np.uint8)


def test_an_unsteady_run_a_trend_and_too_few_rounds_are_said():
    candidates, shaky = raced(Sampling(10, 0), FakeClock(drift=0, jitter=0.1), base=0.01)
    assert any("unsteady, coefficient of variation" in each for each in doubts(candidates, [shaky], "cpu"))
    candidates, slowing = raced(Sampling(20, 0), FakeClock(drift=0.01, jitter=0), base=0.01)
    [drifted] = [each for each in doubts(candidates, [slowing], "cpu") if "drifted" in each]
    assert "slower (clock, heat, or other programs)" in drifted
    candidates, few = raced(Sampling(3, 0), FakeClock(0, 0), base=0.01, other=0.01)
    assert any("3 rounds are too few" in each for each in doubts(candidates, [few], "cpu"))
    candidates, steady = raced(Sampling(20, 0), FakeClock(0, 0.001), base=0.01, other=0.01)
    assert doubts(candidates, [steady], "cpu") == []


def test_a_cpu_in_use_beside_a_gpu_and_half_precision_on_a_cpu_are_said(monkeypatch):
    candidates = [made_up("graph", lambda images: images, kind="onnx", precision="int8")]
    assert [each for each in doubts(candidates, [], "cpu") if "FP16 kernels" in each]
    assert not [each for each in doubts(candidates, [], "cpu") if "there is a GPU" in each]
    monkeypatch.setattr("defian_edge.benchmark.measure.latency.has_gpu", lambda: True)
    assert [each for each in doubts(candidates, [], "cpu") if "there is a GPU" in each]
    assert doubts(candidates, [], "cuda") == []
    checkpoint = [made_up("net", lambda images: images, kind="pytorch", precision="fp32")]
    [said] = doubts(checkpoint, [], "cuda")
    assert said.startswith("net: PyTorch ran on the CPU although there is a GPU")


def test_a_sessions_own_timings_are_kept_summarised_and_judged():
    clock = FakeClock(drift=0, jitter=0)
    said = iter(range(1000))
    parts = [{"enqueue": 0.009, "h2d": 0.020, "compute": 0.010 + 0.001 * n, "d2h": 0.001} for n in range(2)]
    candidate = replace(made_up("engine", working(clock, 0.03)), timings=lambda: parts[next(said) % 2])
    silent = made_up("graph", working(clock, 0.03))
    measured = measure_latency([candidate, silent], SHAPE, Sampling(20, 0, 0), clock)
    assert measured["graph"].parts == {}
    assert measured["graph"].part("compute") is None
    lengths = {name: len(samples) for name, samples in measured["engine"].parts.items()}
    assert lengths == dict.fromkeys((*PARTS, DEVICE), 20)
    device, computed = (measured["engine"].parts[name] for name in (DEVICE, "compute"))
    assert device == pytest.approx([0.020 + each + 0.001 for each in computed])
    compute = measured["engine"].part("compute")
    assert compute is not None
    assert (compute.minimum, compute.maximum, compute.median) == (0.010, 0.011, pytest.approx(0.0105))
    said_of_it = " ".join(doubts([candidate, silent], [measured], "cuda"))
    assert "enqueue-bound, the host needs 9.00 ms" in said_of_it
    assert "transfer-bound, H2D takes 20.00 ms and the network 10.50 ms" in said_of_it
    assert "D2H takes" not in said_of_it


def test_what_cannot_run_here_is_left_out_and_said():
    absent = replace(made_up("engine", None), not_run="no NVIDIA GPU here")
    assert measure_latency([absent], SHAPE, Sampling(1, 0, 0)) == {}
    assert doubts([absent], [], "cpu") == ["engine: not timed, no NVIDIA GPU here."]
