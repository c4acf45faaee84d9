"""One run from options to result: open, time in turns, count, measure the drift, judge."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmark.candidates import open_candidates
from benchmark.environment import describe_environment, use_threads
from benchmark.latency import Plan, doubts, measure_latency
from benchmark.memory import measure_host_memory
from benchmark.results import BenchResult, Measured
from export.devices import device_named, device_of_gpu
from runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmark.candidates import Candidate
    from benchmark.latency import Latency
    from benchmark.quality import Quality
    from calibration.photos import EvaluationPair
    from export.devices import Device
    from runtime.profile import Shape

CROWDED = 0.5
"""Load per core above which other programs are likely to disturb a measurement."""


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        artefacts: bundled names and paths; the first is the base of all ratios.
        shapes: LR batches to time, (batch, height, width).
        plan: how long.
        provider: what runs the graphs.
        dataset, lr, hr: images for the drift section; none for no such section.
        reference: checkpoint of the drift section; None finds it by its hash.
        device: name in the table of published peaks; None for the GPU in use.
        threads: CPU threads of PyTorch and of ONNX Runtime; 0 leaves each its own choice.
        memory: measure the host memory of each artefact in a process of its own.
        max_drift, max_mean_drift, min_psnr_to_reference: budgets in dB; None for no budget.
        command: the command line, for the record.
    """

    artefacts: tuple[str, ...]
    shapes: tuple[Shape, ...]
    plan: Plan = field(default_factory=Plan)
    provider: str = "cpu"
    dataset: Path | None = None
    lr: Path | None = None
    hr: Path | None = None
    reference: str | None = None
    device: str | None = None
    threads: int = 0
    memory: bool = True
    max_drift: float | None = None
    max_mean_drift: float | None = None
    min_psnr_to_reference: float | None = None
    command: str = ""

    def __post_init__(self) -> None:
        if not self.shapes:
            raise DefianError("No shape to time: give at least one.")
        if self.plan.rounds < 1 or not self.plan.seconds >= 0 or not self.plan.warm_up_seconds >= 0:
            raise DefianError(
                f"Expected at least one round and durations of 0 s or more, found {self.plan.rounds} rounds, "
                f"{self.plan.seconds:g} s and {self.plan.warm_up_seconds:g} s of warm-up."
            )
        budgets = (self.max_drift, self.max_mean_drift, self.min_psnr_to_reference)
        if any(budget is not None for budget in budgets) and not self.measures_drift:
            raise DefianError("A drift budget needs images to measure it on.", "Give --dataset, or --lr and --hr.")
        if any(budget is not None and not budget >= 0.0 for budget in budgets):
            raise DefianError("Expected budgets of 0 dB or more.")
        if self.threads < 0:
            raise DefianError(f"Expected 0 threads (each library's choice) or more, found {self.threads}.")

    @property
    def measures_drift(self) -> bool:
        """Whether there are images for a drift section."""
        return any(folder is not None for folder in (self.dataset, self.lr, self.hr))


def run_benchmark(options: BenchOptions, say: Callable[[str], None] = lambda _: None) -> BenchResult:
    """Measure everything that the options ask for.

    Raises:
        DefianError: an artefact, an image folder or the device's name cannot be used. All are looked at before
            anything is measured.
    """
    use_threads(options.threads)
    environment = describe_environment(options.threads)
    device, own = _device(options, environment)
    remarks = _crowd(environment)
    with ExitStack() as stack:
        say("opening the artefacts")
        candidates = open_candidates(options.artefacts, options.provider, stack, options.threads)
        pairs, images, cropped = _images(options, candidates[0].scale)
        remarks += cropped
        latencies: list[dict[str, Latency]] = []
        for shape in options.shapes:
            say(f"timing {len(candidates)} artefacts at {'x'.join(map(str, shape))}")
            latencies.append(measure_latency(candidates, shape, options.plan))
        remarks += doubts(candidates, latencies, options.provider)
        qualities: dict[str, Quality] = {}
        if pairs:
            from benchmark.quality import measure_quality

            qualities = measure_quality(candidates, pairs, options.reference, options.provider, say)
        measured = [
            _measured(each, artefact, options, (device, own), say, latencies, qualities)
            for each, artefact in zip(candidates, options.artefacts, strict=True)
        ]
    return BenchResult(
        options.command,
        environment,
        tuple("x".join(map(str, shape)) for shape in options.shapes),
        tuple(measured),
        images,
        tuple(remarks),
        tuple(_over_budget(qualities, options)),
    )


def _device(options: BenchOptions, environment: dict[str, object]) -> tuple[Device | None, bool]:
    """The device to bound for, and whether it is the GPU of this machine."""
    gpu = environment["gpu"]
    own = device_of_gpu(str(gpu.get("name"))) if isinstance(gpu, dict) else None
    device = own if options.device is None else device_named(options.device)
    return device, device is not None and device == own


def _crowd(environment: dict[str, object]) -> list[str]:
    load, cores = environment["load_average_1min"], environment["cores"]
    if isinstance(load, float) and isinstance(cores, int) and load > CROWDED * cores:
        return [f"Other programs are busy here: load {load} on {cores} cores before the first measurement."]
    return []


def _images(options: BenchOptions, scale: int) -> tuple[list[EvaluationPair], str, list[str]]:
    if not options.measures_drift:
        return [], "", []
    from benchmark.quality import cropped_photos
    from calibration.photos import evaluation_pairs

    if options.dataset is not None and (options.lr is not None or options.hr is not None):
        raise DefianError("Expected --dataset, or --lr with --hr, found both.")
    pairs = evaluation_pairs(scale, options.dataset, options.lr, options.hr)
    if options.dataset is not None:
        words = f"{len(pairs)} images of {options.dataset}, LR by Pillow's bicubic"
        return pairs, words, cropped_photos(options.dataset, scale)
    return pairs, f"{len(pairs)} pairs of {options.lr} and {options.hr}", []


def _measured(
    candidate: Candidate,
    artefact: str,
    options: BenchOptions,
    target: tuple[Device | None, bool],
    say: Callable[[str], None],
    latencies: Sequence[dict[str, Latency]],
    qualities: dict[str, Quality],
) -> Measured:
    memory = None
    if options.memory and candidate.run is not None:
        say(f"measuring the host memory of {candidate.name}")
        memory = measure_host_memory(artefact, max(options.shapes, key=lambda s: s[0] * s[1] * s[2]), options.provider)
    work, bound = (), ()
    device, own = target
    if device is not None:
        import onnx_ir as ir

        from benchmark.candidates import graph_of
        from export.roofline import bound_of, work_of

        graph = graph_of(candidate)
        if graph is not None:
            say(f"counting the work of {candidate.name}")
            model = ir.load(graph)
            work = tuple(work_of(model, shape) for shape in options.shapes)
            in_use = own and (candidate.kind == "engine" or options.provider != "cpu")
            bound = tuple(bound_of(each, device, in_use=in_use) for each in work)
    return Measured(
        candidate,
        candidate.path.stat().st_size,
        tuple(each[candidate.name] for each in latencies if candidate.name in each),
        memory,
        work,
        bound,
        qualities.get(candidate.name),
    )


def _over_budget(qualities: dict[str, Quality], options: BenchOptions) -> list[str]:
    sentences: list[str] = []
    for name, quality in qualities.items():
        report = quality.report
        sentences += [f"{name}: {image.name}: {image.fault}." for image in report.faults]
        if options.max_drift is not None:
            sentences += [
                f"{name}: {image.name} lost {image.drift:.4f} dB of at most {options.max_drift:g}."
                for image in report.over(options.max_drift)
            ]
        if options.max_mean_drift is not None and report.mean > options.max_mean_drift:
            sentences.append(f"{name}: lost {report.mean:.4f} dB in the mean of at most {options.max_mean_drift:g}.")
        least = options.min_psnr_to_reference
        if least is not None and report.psnr_to_reference < least:
            sentences.append(
                f"{name}: {report.psnr_to_reference:.2f} dB against the reference's output of at least {least:g}."
            )
    return sentences
