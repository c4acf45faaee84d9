"""What a step costs here, nothing being trained: rate, share of the roofline, and on a GPU the costliest kernels."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from defian_edge.calibration.photos import EvaluationPair
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import require_writable_folder, write_whole
from tools.train.device import Runner, set_up, words
from tools.train.patches import BLOCK, PatchBank
from tools.train.pictures import read_pictures
from tools.train.resampling import lr_and_hr
from tools.train.roofline import measure_ceilings, work_of
from tools.train.saved import first_network
from tools.train.schedule import Plan
from tools.train.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.train.options import TrainOptions

FILE = "benchmark.json"
KERNELS = 25
PROFILED_STEPS = 3


def measure(options: TrainOptions, device: torch.device, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Time steps as training makes them, for so many seconds, and write ``benchmark.json``.

    Raises:
        DefianError: the pictures or the output folder cannot be used.
    """
    if not seconds > 0:
        raise DefianError(f"--benchmark {seconds}: expected a positive number of seconds.")
    architecture = options.architecture()
    require_writable_folder(options.out)
    set_up(options)
    network, _ = first_network(architecture, options.seed, options.init)
    bank = PatchBank(_pairs(options), options.scale, options.patch, device)
    step = Step(network, bank, options.batch, device, bf16=options.precision == "bf16")
    runner = Runner(step, options, say)
    runner.prepare()
    ceilings = measure_ceilings(device, bf16=options.precision == "bf16")
    work = work_of(architecture, options.batch, options.patch, 2 if options.precision == "bf16" else 4)
    times = _times(runner, seconds, 25 if device.type == "cuda" else 1)
    each = float(np.median(times))
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    result = {
        "network": str(architecture),
        "device": words(device),
        "torch": torch.__version__,
        "batch": options.batch,
        "patch": options.patch,
        "precision": options.precision,
        "step_milliseconds": each * 1e3,
        "steps_per_second": 1 / each,
        "images_per_second": options.batch / each,
        "roofline_share": ceilings.seconds(work) / each,
        "gigaflops_per_step": work.operations / 1e9,
        "gigabytes_per_step": work.bytes / 1e9,
        "ceilings": {"teraflops": ceilings.operations / 1e12, "gigabytes_per_second": ceilings.bytes / 1e9},
        "compile_seconds": runner.compile_seconds,
        "capture_seconds": runner.capture_seconds,
        "compiled": _compiled() if options.compiled else None,
        "memory_mib": peak,
        "skipped_steps": int(step.state.skipped),
        "remarks": runner.remarks,
        "command": options.command,
    }
    _write(result, options)
    if device.type == "cuda":  # last, because a profiler can take the whole program down
        _write({**result, "kernels": _kernels(runner, say)}, options)
    return result


def _compiled() -> dict[str, Any]:
    """What torch.compile made: functions traced, graphs compiled or found in its cache, kernels, seconds by graph."""
    from torch._dynamo.utils import counters, get_compilation_metrics
    from torch._inductor import metrics

    cached = {name: counters["inductor"][f"fxgraph_cache_{name}"] for name in ("miss", "hit")}
    names: dict[Any, str] = {}
    seconds: dict[str, float] = {}
    for each in get_compilation_metrics():
        name = names.setdefault(each.compile_id, str(each.co_name))
        forward = getattr(each, "is_forward", True)
        seconds[name if forward else f"{name} backward"] = (getattr(each, "duration_us", None) or 0) / 1e6
    functions, kernels = counters["stats"]["unique_graphs"], metrics.generated_kernel_count
    return {"functions": functions, **cached, "kernels": kernels, "seconds": seconds}


def _write(result: dict[str, Any], options: TrainOptions) -> None:
    content = (json.dumps(result, indent=2) + "\n").encode()
    for path in (options.out / FILE, *([options.json] if options.json else [])):
        write_whole(path, content)


def _pairs(options: TrainOptions) -> tuple[EvaluationPair, ...]:
    """The pictures, or noise if there are none: a step takes as long."""
    folder: Path | None = options.pictures
    if folder is not None:
        return read_pictures(folder, options.scale, options.patch, options.lr_filter, 0).training
    side = 4 * options.patch * options.scale
    noise = np.random.default_rng(options.seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return (EvaluationPair("noise", *lr_and_hr(noise, options.scale, options.lr_filter)),)


def _times(runner: Runner, seconds: float, burst: int) -> list[float]:
    """Seconds a step, one figure a burst."""
    times: list[float] = []
    plan, step, end = Plan(0, 0.0, 10**9), 0, time.monotonic() + seconds
    while not times or time.monotonic() < end:
        count = min(burst, BLOCK - step % BLOCK)
        begun = time.perf_counter()
        runner.run(step, count, plan)
        times.append((time.perf_counter() - begun) / count)
        step += count
    return times


def _kernels(runner: Runner, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The kernels that take most of a step on a GPU: microseconds and launches a step, launched one by one."""
    try:
        from torch.profiler import ProfilerActivity, profile

        runner.step.row.fill_(0)
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            for _ in range(PROFILED_STEPS):
                runner.step()
            torch.cuda.synchronize()
        events = [event for event in profiler.key_averages() if event.self_device_time_total > 0]
    except Exception as error:
        say(f"WARNING: the profiler failed: {error}")
        return []
    events.sort(key=lambda event: -event.self_device_time_total)
    rows = [
        {
            "name": event.key[:120],
            "microseconds": event.self_device_time_total / PROFILED_STEPS,
            "launches": event.count / PROFILED_STEPS,
        }
        for event in events
    ]
    rows = [{"name": "all", **{key: sum(row[key] for row in rows) for key in ("microseconds", "launches")}}, *rows]
    for row in rows[:KERNELS]:
        say(f"{row['microseconds']:9.1f} us {row['launches']:6.1f} launches  {row['name'][:90]}")
    return rows[:KERNELS]
