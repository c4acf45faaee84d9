"""One run from options to result: open, time in turns, count, measure the drift, judge."""

from __future__ import annotations

import importlib.util
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from defian_edge.benchmark.candidates import open_candidates
from defian_edge.benchmark.environment import describe_environment, has_gpu, use_threads
from defian_edge.benchmark.gpu.clocks import watch_clocks
from defian_edge.benchmark.gpu.energy import NOTHING, measure_energy, open_meter
from defian_edge.benchmark.inputs import images_of, pixels_sha256, require_shapes, too_large
from defian_edge.benchmark.measure.latency import Sampling, doubts, measure_latency
from defian_edge.benchmark.measure.limits import bounds_of, can_count, work_at
from defian_edge.benchmark.measure.memory import measure_memory
from defian_edge.benchmark.measure.packed import reference_words
from defian_edge.benchmark.results import BenchResult, Measured
from defian_edge.calibration.drift.hard_images import hard_images
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.hardware.here import device_for
from defian_edge.runtime.hardware.table import device_of
from defian_edge.runtime.log import telling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from defian_edge.benchmark.candidates import Candidate
    from defian_edge.benchmark.gpu.clocks import Clocks
    from defian_edge.benchmark.gpu.energy import Energy, Meter
    from defian_edge.benchmark.measure.latency import Latency
    from defian_edge.benchmark.measure.memory import Memory
    from defian_edge.benchmark.measure.quality import Quality
    from defian_edge.benchmark.options import BenchOptions
    from defian_edge.export.roofline.bound import Work
    from defian_edge.runtime.hardware.device import Device
    from defian_edge.runtime.profile import Shape

LOGGER = logging.getLogger(__name__)

CROWDED = 0.5
"""Load per core above which other programs are likely to disturb a measurement."""


def run_benchmark(options: BenchOptions, say: Callable[[str], None] = lambda _: None) -> BenchResult:
    """Measure everything that the options ask for.

    Raises:
        DefianError: an artefact, an image folder or the device's name cannot be used. All are looked at before
            anything is measured.
    """
    say = telling(LOGGER, say)
    use_threads(options.threads)
    environment = describe_environment(options.threads)
    target = _device(options, environment)
    remarks = _crowd(environment)
    with ExitStack() as stack:
        say("opening the artefacts")
        candidates = open_candidates(options.artefacts, options.provider, stack, options.threads)
        pairs, images, said = images_of(options, candidates)
        require_shapes(candidates, options.shapes)
        remarks += said
        latencies, clocks = _timed(candidates, options, say)
        remarks += doubts(candidates, latencies, options.provider)
        remarks += [sentence for each in clocks for sentence in each.doubts()]
        energies, unknown = _energies(candidates, options, say)
        remarks += unknown
        qualities: dict[str, Quality] = {}
        if pairs:
            from defian_edge.benchmark.measure.quality import measure_quality

            qualities = measure_quality(candidates, pairs, options.reference, options.provider, say, options.tiling)
            remarks += _hard_left_out(qualities)
        measured = [
            Measured(
                each,
                each.path.stat().st_size,
                tuple(found[each.name] for found in latencies if each.name in found),
                _memory(each, artefact, options, say),
                energies.get(each.name, ()),
                work,
                bounds_of(each, work, target[0], own=target[1]),
                qualities.get(each.name),
            )
            for each, artefact in zip(candidates, options.artefacts, strict=True)
            for work in [_work(each, options.shapes, say)]
        ]
    remarks += _without_packages(candidates, options)
    remarks += [
        f"{each.candidate.name}: the memory of the GPU was not measured. {each.memory.no_device}"
        for each in measured
        if each.memory is not None and each.memory.no_device
    ]
    return BenchResult(
        options.command,
        environment,
        tuple("x".join(map(str, shape)) for shape in options.shapes),
        tuple(measured),
        images,
        tuple(remarks),
        tuple(options.budget.exceeded(qualities)),
        tuple(clocks),
        "" if options.tiling is None else str(options.tiling),
        pixels_sha256(pairs),
        reference_words(options.reference) if qualities else "",
    )


def _hard_left_out(qualities: Mapping[str, Quality]) -> list[str]:
    """Of an engine's pictures those of a pack that was made for another profile may not fit."""
    whole = len(hard_images())
    counts = {name: quality.report.hard_run for name, quality in qualities.items()}
    return [
        f"{name}: {count} of {whole} hard images were run; the others do not fit its profile."
        for name, count in counts.items()
        if count < whole
    ]


def _without_packages(candidates: Sequence[Candidate], options: BenchOptions) -> list[str]:
    """What was left out for want of packages that a device need not have."""
    remarks = [] if can_count() else ["Work and bounds were not counted: that takes onnx-ir and PyTorch."]
    if options.measures_drift:
        from defian_edge.benchmark.measure.quality import can_emulate

        if importlib.util.find_spec("skimage") is None:
            remarks.append("SSIM-Y is not known: that takes scikit-image.")
        if not can_emulate() and any(each.kind == "onnx" for each in candidates) and options.provider == "cpu":
            remarks.append("Graphs ran as ONNX Runtime's CPU provider runs them, FP16 in FP32: rounding takes onnx-ir.")
    return remarks


def _device(options: BenchOptions, environment: dict[str, object]) -> tuple[Device | None, bool]:
    """The device to bound for, and whether it is the GPU of this machine."""
    gpu = environment["gpu"]
    own = device_of(str(gpu.get("name")) if isinstance(gpu, dict) else None, str(environment["board"] or ""))
    device = own if options.device is None else device_for(options.device)
    return device, device is not None and device == own


def _crowd(environment: dict[str, object]) -> list[str]:
    load, cores = environment["load_average_1min"], environment["cores"]
    if isinstance(load, float) and isinstance(cores, int) and load > CROWDED * cores:
        return [f"Other programs are busy here: load {load} on {cores} cores before the first measurement."]
    return []


def _timed(
    candidates: Sequence[Candidate], options: BenchOptions, say: Callable[[str], None]
) -> tuple[list[dict[str, Latency]], list[Clocks]]:
    """The latencies shape by shape, and the GPU's clock meanwhile."""
    latencies: list[dict[str, Latency]] = []
    clocks: list[Clocks] = []
    for shape in options.shapes:
        words = "x".join(map(str, shape))
        say(f"timing {len(candidates)} artefacts at {words}")
        with watch_clocks() as watch:
            latencies.append(_latency(candidates, shape, options.sampling))
        seen = watch.clocks(words)
        clocks += [seen] if seen is not None else []
    return latencies, clocks


def _latency(candidates: Sequence[Candidate], shape: Shape, sampling: Sampling) -> dict[str, Latency]:
    try:
        return measure_latency(candidates, shape, sampling)
    except MemoryError as error:
        raise too_large(shape) from error
    except DefianError:
        raise  # it has a hint of its own
    except Exception as error:  # PyTorch, ONNX Runtime and CUDA have types of their own for it
        if "alloc" not in str(error).lower() and "out of memory" not in str(error).lower():
            raise
        raise too_large(shape) from error


def _energies(
    candidates: Sequence[Candidate], options: BenchOptions, say: Callable[[str], None]
) -> tuple[dict[str, tuple[Energy | None, ...]], list[str]]:
    """Energies by candidate, one per shape; and why there are none where a reader would expect them."""
    if not options.energy:
        return {}, []
    meter = open_meter()
    if not meter.source:
        expected = has_gpu() or any(each.on_gpu and each.run is not None for each in candidates)
        return {}, [f"Energy per image is not known: {NOTHING}."] if expected else []
    found: dict[str, tuple[Energy | None, ...]] = {}
    remarks: list[str] = []
    for each in candidates:
        if each.run is None or not meter.covers(on_gpu=each.on_gpu):
            continue
        say(f"measuring the energy of {each.name}")
        found[each.name] = _energy(each, options.shapes, meter)
        if None in found[each.name]:
            remarks.append(f"{each.name}: the {meter.source}, fell silent or did not move; its energy is not known.")
    return found, remarks


def _energy(candidate: Candidate, shapes: Sequence[Shape], meter: Meter) -> tuple[Energy | None, ...]:
    run = candidate.run
    return () if run is None else tuple(measure_energy(run, shape, meter) for shape in shapes)


def _memory(candidate: Candidate, artefact: str, options: BenchOptions, say: Callable[[str], None]) -> Memory | None:
    if not options.memory or candidate.run is None:
        return None
    say(f"measuring the memory of {candidate.name}")
    return measure_memory(
        artefact, max(options.shapes, key=lambda s: s[0] * s[1] * s[2]), options.provider, options.threads
    )


def _work(candidate: Candidate, shapes: Sequence[Shape], say: Callable[[str], None]) -> tuple[Work, ...]:
    say(f"counting the work of {candidate.name}")
    return work_at(candidate, shapes)
