"""One card's part of docs/gpu.md: every table is made from a report's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from defian_edge.selftest.report import Outcome, Report


def card_section(name: str, report: Report) -> str:
    """Everything that a report says, in Markdown; ``name`` is its file's."""
    machine = report.machine
    card, packages = machine.get("card", {}), machine.get("packages", {})
    stages = {outcome.name: outcome for outcome in report.outcomes}
    ran = {
        "onnxruntime, CUDA": _figure(stages, "onnx-cuda", "onnxruntime"),
        "tensorrt-rtx": _figure(stages, "rtx-target", "tensorrt_rtx"),
        "tensorrt": _figure(stages, "tensorrt", "tensorrt"),
    }
    shown = {key: value for key, value in (packages | ran).items() if value and key in (*SHOWN_PACKAGES, *ran)}
    versions = ", ".join(f"{key} {value}" for key, value in shown.items())
    gpu = machine.get("gpu") or {}
    parts = [
        f"\n## {card.get('name', 'unknown card')}, {report.started[:10]}\n\n",
        f"[{name}](gpu/{name}): compute capability {card.get('capability')}, "
        f"{card.get('multiprocessors')} multiprocessors, driver {gpu.get('driver_version', 'unknown')} "
        f"(CUDA {card.get('driver_cuda')}), {versions}; commit {_commit(machine.get('commit'))}.\n",
        _ceilings(stages.get("environment")),
        _stages(report.outcomes),
        _latency(stages),
        _memory(stages),
        _drift(stages),
        _kernel(stages.get("kernel")),
        _frames(stages),
    ]
    return "".join(parts)


SIZES = ("1x180x320", "1x360x640", "1x540x960", "1x720x1280")
SHOWN_PACKAGES = ("torch", "pycuda", "cuda-bindings")


def _commit(commit: str | None) -> str:
    """Shortened; that files had been changed stays said."""
    sha, _, changed = (commit or "unknown").partition(" ")
    return f"{sha[:12]} {changed}".strip()


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty without rows."""
    body = [f"| {' | '.join(row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}", *body]) + "\n"


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ceilings(outcome: Outcome | None) -> str:
    if outcome is None or not outcome.figures.get("copy_bytes_per_second"):
        return ""
    copies = {int(size): rate for size, rate in outcome.figures["copy_bytes_per_second"].items()}
    said = [f"{rate / 1e12:.2f} TB/s for {size >> 20} MiB" for size, rate in sorted(copies.items(), reverse=True)]
    rate = outcome.figures.get("fp16_matrix_flop_per_second")
    matrix = (
        ""
        if rate is None
        else f" A product of two random FP16 matrices of 8192x8192 runs at {rate / 1e12:.0f} TFLOP/s."
    )
    return f"\nCopies inside the device, read and written: {', '.join(said)}.{matrix}\n"


def _stages(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for outcome in outcomes:
        wrong = [check for check in outcome.checks if not check["passed"]]
        said = outcome.reason.splitlines()[0] if outcome.reason else ""
        if wrong:
            said = "; ".join(f"{each['name']}: {each['found']} (expected {each['expected']})" for each in wrong[:3])
        checks = f"{len(outcome.checks) - len(wrong)} of {len(outcome.checks)}" if outcome.checks else "-"
        rows.append((outcome.name, outcome.status, checks, f"{outcome.seconds:.0f}", said.replace("|", "/")))
    notes = [f"- {outcome.name}: {note}\n" for outcome in outcomes for note in _notes(outcome)]
    shown = table(("stage", "result", "checks passed", "seconds", "remark"), rows)
    return f"\n{shown}" + (f"\n{''.join(notes)}" if notes else "")


def _notes(outcome: Outcome) -> list[str]:
    """What a stage noted, but not of every single file; and what TensorRT-RTX says of each target."""
    said = [note for note in outcome.notes if not note.startswith("defian-")]
    for name, verdict in outcome.figures.items():
        if name.startswith("sm ") and verdict["said"]:
            said.append(f"built for {name.removeprefix('sm ')}: {verdict['said'][-1]}")
    return said


def latencies(stages: dict[str, Outcome]) -> dict[tuple[str, str], dict[str, str]]:
    """Milliseconds of the network alone by model and by what runs it, then by size."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in _figure(stages, "pytorch", "latency") or []:
        rows.setdefault((row["model"], f"PyTorch {row['way']}"), {})[row["shape"]] = _number(row["milliseconds"])
    for row in _figure(stages, "onnx-cuda", "network_alone") or []:
        name = f"ONNX Runtime CUDA, {_short(row['name'])}"
        rows.setdefault((row["model"], name), {})[row["shape"]] = _number(row["milliseconds"])
    for stage, words in ENGINES:
        for candidate in _benched(stages, stage):
            name = f"{words}, {_short(candidate['name'])}"
            for latency in candidate["latencies"]:
                share = latency["share_of_roofline"]
                said = _number(latency["compute_ms"]) + ("" if share is None else f" ({share:.0%})")
                rows.setdefault((candidate["model"], name), {})[latency["shape"]] = said
    return dict(sorted(rows.items(), key=lambda item: item[0][0]))


ENGINES = (("rtx", "TensorRT-RTX"), ("tensorrt", "TensorRT"))


def _latency(stages: dict[str, Outcome]) -> str:
    rows = latencies(stages)
    if not rows:
        return ""
    shown = table(
        ("model", "run by", *SIZES), [(*key, *(cells.get(size, "-") for size in SIZES)) for key, cells in rows.items()]
    )
    return (
        "\nLatency of the network in ms, image and result on the device, median; of engines between CUDA events, in "
        f"brackets the share of the roofline's bound:\n\n{shown}"
    )


def _memory(stages: dict[str, Outcome]) -> str:
    """Memory on the device at one size: what PyTorch allocated, what a plan says and what its engine took."""
    rows = [
        (row["model"], f"PyTorch {row['way']}", "-", f"{row['peak_bytes'] / 1e6:.1f}")
        for row in _figure(stages, "pytorch", "latency") or []
        if row["shape"] == MEMORY_SIZE
    ]
    for stage, words in ENGINES:
        planned = {row["name"]: row["planned_bytes"] for row in _benched(stages, stage)}
        for title, found in (stages[stage].figures if stage in stages else {}).items():
            if title.startswith("memory "):
                rows += [
                    (title.removeprefix("memory "), f"{words}, {_short(name)}", _megabytes(planned.get(name)),
                     _megabytes((taken or {}).get("peak")))
                    for name, taken in found.items()
                ]  # fmt: skip
    if not rows:
        return ""
    shown = table(("model", "run by", "activations planned, MB", "most taken, MB"), rows)
    return f"\nMemory of the device at {MEMORY_SIZE}; plans are for the profile's largest size:\n\n{shown}"


MEMORY_SIZE = "1x540x960"


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.1f}"


def _drift(stages: dict[str, Outcome]) -> str:
    rows = []
    for name, summary in (stages["pytorch"].figures if "pytorch" in stages else {}).items():
        if name.startswith("drift "):
            rows.append((f"PyTorch {name.removeprefix('drift ')}", *_drift_cells(summary), "-", "-", "-"))
    for stage, words in (("onnx-cuda", "ONNX Runtime CUDA"), *ENGINES):
        pictures = _figure(stages, stage, "against_emulation") or _figure(stages, stage, "engines") or {}
        benched = {candidate["name"]: candidate for candidate in _benched(stages, stage)}
        for name in {**pictures, **benched}:
            beside, drift = pictures.get(name, {}), (benched.get(name) or {}).get("drift") or {}
            equal, step = beside.get("equal_share"), beside.get("largest_step")
            rows.append(
                (
                    f"{words}, {_short(name)} ({name.partition('.')[0]})",
                    *_drift_cells(drift),
                    _number(beside.get("worst_difference_db"), 4),
                    "-" if equal is None else f"{equal:.2%}",
                    "-" if step is None else str(step),
                )
            )
    if not rows:
        return ""
    heads = (
        "network",
        "PSNR-Y dB",
        "mean drift dB",
        "worst drift dB",
        "to reference dB",
        "drift from the emulation's dB",
        "equal to it",
        "largest step",
    )
    return (
        "\nDrift on the device against the PyTorch FP32 reference, and its pictures beside those of the graph with "
        f"FP16 emulated on the CPU, which is what `export.py` measures:\n\n{table(heads, rows)}"
    )


def _drift_cells(summary: dict[str, Any]) -> tuple[str, ...]:
    names = (("mean_psnr_y", 3), ("mean_drift_db", 4), ("worst_drift_db", 4), ("psnr_to_reference", 1))
    return tuple(_number(summary.get(name), digits) for name, digits in names)


def _kernel(outcome: Outcome | None) -> str:
    if outcome is None or not outcome.figures.get("kernel"):
        return ""
    rows = [
        (row["shape"], row["precision"], row["layout"], f"{row['microseconds']:.1f}", f"{row['least_bytes'] / 1e6:.1f}",
         f"{row['share_of_copy']:.0%}")
        for row in outcome.figures["kernel"]
    ]  # fmt: skip
    shown = table(("features", "type", "layout", "us", "least MB", "share of copy bandwidth"), rows)
    beside = ", ".join(
        f"{row['precision']} {row['way']} {row['microseconds']:.0f} us" for row in outcome.figures.get("pytorch") or []
    )
    words = f"\nPyTorch's own filters at 1x32x540x960: {beside}.\n" if beside else ""
    return (
        f"\nThe eigenvalue kernel ([plugin.md](plugin.md)), its features not in the L2. Shares are "
        f"of {outcome.figures['copy_bytes_per_second'] / 1e12:.2f} TB/s, read and written:\n\n{shown}{words}"
    )


def _frames(stages: dict[str, Outcome]) -> str:
    said = []
    frames = _figure(stages, "frames", "frames")
    if frames:
        said.append(
            f"A stream of {frames['shape']} frames: {frames['frames_per_second']:.1f} frames per second, "
            f"{frames['streamed_over_compute']:.2f} times the network's own time; one by one "
            f"{1 / frames['seconds_alone']:.1f}."
        )
    starts = _figure(stages, "frames", "first_picture_seconds")
    if starts:
        said.append("First picture after " + ", ".join(f"{value:.1f} s {name}" for name, value in starts.items()) + ".")
    soak = _figure(stages, "soak", "soak")
    if soak:
        said.append(f"{soak['frames']} frames of changing shapes: memory grew by {soak['grown_bytes']} bytes.")
    training = _figure(stages, "training", "training")
    if training:
        said.append(f"Training x2: {training.get('images_per_second') or 0:.0f} images per second.")
    return f"\n{' '.join(said)}\n" if said else ""


def _figure(stages: dict[str, Outcome], stage: str, name: str) -> Any:  # noqa: ANN401 - any of JSON's types
    return stages[stage].figures.get(name) if stage in stages else None


def _benched(stages: dict[str, Outcome], stage: str) -> list[dict[str, Any]]:
    figures = stages[stage].figures if stage in stages else {}
    return [row for name, rows in figures.items() if name.startswith("bench ") for row in rows]


def _short(name: str) -> str:
    """``defian-s-x2.fp16.function.tensorrt-rtx.engine`` -> ``fp16.function``."""
    words = name.removesuffix(".onnx").removesuffix(".engine").split(".")
    return ".".join(word for word in words[1:] if not word.startswith("tensorrt"))
