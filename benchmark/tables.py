"""What a result says, as tables that a terminal and a page both show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmark.against import Change
    from benchmark.latency import Latency
    from benchmark.results import BenchResult, Measured

MEGA = 1e6


@dataclass
class Sheet:
    """A table: a title, headings, and rows of as many cells. The first column names, the others hold figures."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        if len(cells) != len(self.columns):
            raise ValueError(f"expected {len(self.columns)} cells, found {len(cells)}")
        self.rows.append(cells)


def sheets(result: BenchResult) -> list[Sheet]:
    """Every table that the result has figures for."""
    timed = any(each.latencies for each in result.measured)
    tables = [latency_table(result.measured, index, shape) for index, shape in enumerate(result.shapes) if timed]
    tables += [
        parts_table(result.measured, index, shape)
        for index, shape in enumerate(result.shapes)
        if any(each.latencies and each.latencies[index].parts for each in result.measured)
    ]
    tables.append(memory_table(result.measured))
    if any(each.bound for each in result.measured):
        tables += [bound_table(result.measured, index, shape) for index, shape in enumerate(result.shapes)]
    if any(each.quality for each in result.measured):
        tables.append(drift_table(result.measured, result.images))
    return tables


def latency_table(measured: Sequence[Measured], index: int, shape: str) -> Sheet:
    """End-to-end latency of every candidate that ran, and its ratio to the first."""
    timed = [each for each in measured if each.latencies]
    rounds = timed[0].latencies[index].summary.count
    table = Sheet(
        f"Latency at {shape} LR in ms, uint8 to uint8 in host memory, {rounds} rounds in turns",
        ("artefact", "min", "median", "p95", "CV", "images/s", "MP/s", "ratio to the first"),
    )
    for each in timed:
        latency = each.latencies[index]
        of = latency.summary
        times = (f"{1e3 * value:.1f}" for value in (of.minimum, of.median, of.p95))
        throughput = f"{latency.images_per_second:.2f}", f"{latency.megapixels_per_second:.2f}"
        table.add(each.candidate.name, *times, f"{of.cv:.1%}", *throughput, ratio_text(latency))
    return table


def statistics_table(measured: Sequence[Measured], index: int, shape: str) -> Sheet:
    """Every statistic of the latencies, as trtexec lists them."""
    columns = ("artefact", "samples", "min", "max", "mean", "median", "p90", "p95", "p99", "99 % interval of the ratio")
    table = Sheet(f"All statistics of the latency at {shape} in ms", columns)
    for each in measured:
        if not each.latencies:
            continue
        latency = each.latencies[index]
        of = latency.summary
        times = (of.minimum, of.maximum, of.mean, of.median, of.p90, of.p95, of.p99)
        interval = None if latency.comparison is None else latency.comparison.interval
        words = "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
        table.add(each.candidate.name, str(of.count), *(f"{1e3 * value:.1f}" for value in times), words)
    return table


def parts_table(measured: Sequence[Measured], index: int, shape: str) -> Sheet:
    """What the device spends its time on, by its own clock."""
    names = {"enqueue": "enqueue", "h2d": "H2D", "compute": "GPU compute", "d2h": "D2H"}
    columns = ("artefact", *(f"{words} {which}" for words in names.values() for which in ("median", "p99")))
    table = Sheet(f"On the device at {shape} LR in ms, by CUDA events", columns)
    for each in measured:
        if not each.latencies or not each.latencies[index].parts:
            continue
        summaries = [each.latencies[index].part(name) for name in names]
        pairs = [("-", "-") if s is None else (f"{1e3 * s.median:.3f}", f"{1e3 * s.p99:.3f}") for s in summaries]
        table.add(each.candidate.name, *(cell for pair in pairs for cell in pair))
    return table


def ratio_text(latency: Latency) -> str:
    """``0.812 [0.805, 0.820] faster``: median of the rounds' ratios, their quartiles, the verdict."""
    compared = latency.comparison
    if compared is None:
        return "1"
    low, high = compared.quartiles
    return f"{compared.ratio:.3f} [{low:.3f}, {high:.3f}] {compared.verdict}"


def memory_table(measured: Sequence[Measured]) -> Sheet:
    """Sizes in MB: what a process needs on the host, and what the compiler plans on a device."""
    columns = ("artefact", "eigenvalue step", "file", "host, loaded", "host, peak", "device, planned")
    table = Sheet("Memory in MB", columns)
    for each in measured:
        memory = each.memory
        table.add(
            each.candidate.name,
            "-" if each.candidate.manifest is None else each.candidate.manifest.eigen,
            megabytes(each.file_bytes),
            megabytes(None if memory is None else memory.loaded),
            megabytes(None if memory is None else memory.peak),
            megabytes(each.activation_bytes),
        )
    return table


def bound_table(measured: Sequence[Measured], index: int, shape: str) -> Sheet:
    """Roofline bounds, not measurements; the share of them that was reached where the device is the one in use."""
    devices = sorted({each.bound[index].device for each in measured if each.bound})
    table = Sheet(
        f"Bounds (not measured) at {shape} LR: the least ms that {', '.join(devices)} needs at its published peaks",
        ("artefact", "GMACs", "INT8", "least MB", "conv MB", "arithmetic", "memory", "bound", "reached"),
    )
    for each in measured:
        if not each.bound:
            continue
        work, bound = each.work[index], each.bound[index]
        table.add(
            each.candidate.name,
            f"{work.total_macs / 1e9:.1f}",
            f"{work.macs.get('int8', 0) / max(work.total_macs, 1):.0%}",
            megabytes(work.least_bytes),
            megabytes(work.convolution_bytes),
            f"{1e3 * bound.compute:.3f}",
            f"{1e3 * bound.memory:.3f}",
            f"{1e3 * bound.seconds:.3f} {bound.limit}",
            "-" if (share := each.share_of_bound(index)) is None else f"{share:.0%}",
        )
    return table


def drift_table(measured: Sequence[Measured], images: str) -> Sheet:
    """Picture quality against HR and against the PyTorch reference."""
    table = Sheet(
        f"Drift in dB PSNR-Y against the PyTorch FP32 reference, on {images}",
        ("artefact", "PSNR-Y", "SSIM-Y", "mean", "worst", "worst image", "to reference", "equal", "max step"),
    )
    for each in measured:
        if each.quality is None:
            continue
        report, counts = each.quality.report, each.quality.differences
        table.add(
            report.variant,
            f"{report.mean_psnr:.3f}",
            f"{report.mean_ssim:.4f}",
            signless_zero(report.mean),
            signless_zero(report.worst.drift),
            report.worst.name,
            f"{report.psnr_to_reference:.1f}",
            share_text(counts[0], sum(counts)),
            str(len(counts) - 1),
        )
    return table


def change_table(changes: Sequence[Change]) -> Sheet:
    """Old against new; what exceeds the noise is marked."""
    table = Sheet("Against the earlier result", ("artefact", "figure", "before", "now", "change", "noise", "verdict"))
    for change in changes:
        if change.what == "latency":
            figures = f"{1e3 * change.old:.1f} ms", f"{1e3 * change.new:.1f} ms"
            sizes = f"{change.new / change.old - 1:+.1%}", f"{change.noise:.1%}"
            worse = "slower", "faster"
        else:
            figures = f"{change.old:.4f} dB", f"{change.new:.4f} dB"
            sizes = f"{change.new - change.old:+.4f}", f"{change.noise:.4f}"
            worse = "more drift", "less drift"
        verdict = "within the noise" if not change.exceeds else worse[change.new < change.old]
        table.add(change.name, change.what, *figures, *sizes, verdict)
    return table


def share_text(part: int, whole: int) -> str:
    """A share in per cent that says 100 only if nothing is missing."""
    text = f"{part / whole:.2%}"
    return ">99.99%" if text == "100.00%" and part < whole else text


def megabytes(size: int | None) -> str:
    """Bytes as MB; a dash for what is not known."""
    return "-" if size is None else f"{size / MEGA:.1f}"


def signless_zero(value: float) -> str:
    """``-0.0000`` reads like a gain; it is none."""
    text = f"{value:.4f}"
    return "0.0000" if text == "-0.0000" else text
