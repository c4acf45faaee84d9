"""What a result says, as tables that a terminal and a page both show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from defian_edge.benchmark.report.table import Table
from defian_edge.benchmark.words import megabytes, milliseconds, share_text, signless_zero
from defian_edge.runtime.hardware.device import NOT_PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.benchmark.measure.latency import Latency
    from defian_edge.benchmark.results import BenchResult, Measured

PART_NAMES = {
    "enqueue": "enqueue",
    "h2d": "H2D",
    "compute": "GPU compute",
    "d2h": "D2H",
    "device": "device latency",
}
"""What a session's parts are called; the last one is the sum of the three before it."""
PLANNED = "device, planned (not measured)"


def result_tables(result: BenchResult) -> list[Table]:
    """Every table that the result has figures for."""
    timed = any(each.latencies for each in result.measured)
    tables = [latency_table(result.measured, index, shape) for index, shape in enumerate(result.shapes) if timed]
    tables += [
        parts_table(result.measured, index, shape)
        for index, shape in enumerate(result.shapes)
        if any(each.latencies and each.latencies[index].parts for each in result.measured)
    ]
    if any(each.memory or each.activation_bytes is not None for each in result.measured):
        tables.append(memory_table(result.measured))
    tables += [
        energy_table(result.measured, index, shape)
        for index, shape in enumerate(result.shapes)
        if any(each.energy and each.energy[index] for each in result.measured)
    ]
    if any(each.work for each in result.measured):
        tables += [bound_table(result.measured, index, shape) for index, shape in enumerate(result.shapes)]
    if any(each.quality for each in result.measured):
        tables.append(drift_table(result.measured, result.images))
    if any(each.quality and each.quality.tiled for each in result.measured):
        tables.append(tile_table(result.measured, result.tiles))
    return tables


def latency_table(measured: Sequence[Measured], index: int, shape: str) -> Table:
    """End-to-end latency of every candidate that ran, and its ratio to the first."""
    timed = [each for each in measured if each.latencies]
    rounds = timed[0].latencies[index].summary.count
    table = Table(
        f"Latency at {shape} LR in ms, uint8 to uint8 in host memory, {rounds} rounds in turns",
        ("artefact", "min", "median", "p95", "CV", "images/s", "MP/s", "ratio to the first"),
    )
    for each in timed:
        latency = each.latencies[index]
        of = latency.summary
        times = (milliseconds(value) for value in (of.minimum, of.median, of.p95))
        throughput = f"{latency.images_per_second:.2f}", f"{latency.megapixels_per_second:.2f}"
        table.add(each.candidate.name, *times, f"{of.cv:.1%}", *throughput, ratio_text(latency))
    return table


def parts_table(measured: Sequence[Measured], index: int, shape: str) -> Table:
    """What the device spends its time on, by its own clock, and the whole latency beside it."""
    names = (*PART_NAMES.values(), "end to end")
    table = Table(
        f"On the device at {shape} LR in ms by CUDA events, median / p99; device latency is H2D + GPU compute + D2H, "
        "trtexec's latency",
        ("artefact", *names),
    )
    for each in measured:
        if not each.latencies or not each.latencies[index].parts:
            continue
        latency = each.latencies[index]
        summaries = [*(latency.part(name) for name in PART_NAMES), latency.summary]
        cells = ("-" if s is None else f"{milliseconds(s.median)} / {milliseconds(s.p99)}" for s in summaries)
        table.add(each.candidate.name, *cells)
    return table


def ratio_text(latency: Latency) -> str:
    """``0.812 [0.805, 0.820] faster``: median of the rounds' ratios, their quartiles, the verdict."""
    compared = latency.comparison
    if compared is None:
        return "1"
    low, high = compared.quartiles
    return f"{compared.ratio:.3f} [{low:.3f}, {high:.3f}] {compared.verdict}"


def memory_table(measured: Sequence[Measured]) -> Table:
    """Sizes in MB: what a process needs on the host and on a device, and what the compiler plans there.

    What no artefact has gets no column.
    """
    on_host = any(each.memory and each.memory.host for each in measured)
    on_device = any(each.memory and each.memory.device for each in measured)
    planned = any(each.activation_bytes is not None for each in measured)
    found = (
        *(("host, loaded", "host, peak") if on_host else ()),
        *(("device, loaded", "device, peak") if on_device else ()),
    )
    table = Table("Memory in MB", ("artefact", "eigenvalue step", "file", *found, *((PLANNED,) if planned else ())))
    for each in measured:
        host = None if each.memory is None else each.memory.host
        device = None if each.memory is None else each.memory.device
        of_host = (None, None) if host is None else (host.loaded, host.peak)
        of_device = (None, None) if device is None else (device.loaded, device.peak)
        table.add(
            each.candidate.name,
            "-" if each.candidate.manifest is None else each.candidate.manifest.eigen,
            megabytes(each.file_bytes),
            *(megabytes(size) for size in of_host if on_host),
            *(megabytes(size) for size in of_device if on_device),
            *([megabytes(each.activation_bytes)] if planned else []),
        )
    return table


def energy_table(measured: Sequence[Measured], index: int, shape: str) -> Table:
    """What an image costs in joules, and whose joules they are."""
    known = [(each, each.energy[index]) for each in measured if each.energy]
    sources = sorted({energy.source for _, energy in known if energy is not None})
    table = Table(
        f"Energy at {shape} LR, idle power included: {', '.join(sources)}",
        ("artefact", "mJ an image", "images a joule", "mean W", "images", "seconds"),
    )
    for each, energy in known:
        if energy is None:
            table.add(each.candidate.name, *["-"] * 5)
            continue
        per_image = f"{1e3 * energy.joules_per_image:.2f}", f"{1 / energy.joules_per_image:.2f}"
        table.add(each.candidate.name, *per_image, f"{energy.watts:.1f}", str(energy.images), f"{energy.seconds:.1f}")
    return table


def bound_table(measured: Sequence[Measured], index: int, shape: str) -> Table:
    """Work and roofline bounds, not measurements; the share of a bound that was reached on the device in use."""
    devices = sorted({each.bound[index].device for each in measured if each.bound})
    counted = ("artefact", "GMACs", "INT8", "least MB", "conv MB")
    planned = any(each.work[index].planned_bytes is not None for each in measured if each.work)
    if planned:
        counted = (*counted, "plan MB")
    if devices:
        words = f"the least ms that {', '.join(devices)} needs at its published clock and peaks"
        table = Table(
            f"Bounds (not measured) at {shape} LR: {words}",
            (*counted, "arithmetic", "memory", "bound", "reached"),
        )
    else:
        table = Table(f"Work (counted, not measured) at {shape} LR; --device for bounds", counted)
    for each in measured:
        if not each.work:
            continue
        work = each.work[index]
        cells = (
            f"{work.total_macs / 1e9:.1f}",
            f"{work.macs.get('int8', 0) / max(work.total_macs, 1):.0%}",
            megabytes(work.least_bytes),
            megabytes(work.convolution_bytes),
            *([megabytes(work.planned_bytes)] if planned else []),
        )
        if each.bound:
            bound = each.bound[index]
            cells = (
                *cells,
                NOT_PUBLISHED if bound.compute is None else f"{1e3 * bound.compute:.3f}",
                f"{1e3 * bound.memory:.3f}",
                f"{1e3 * bound.seconds:.3f} {bound.limit}",
                "-" if (share := each.share_of_bound(index)) is None else f"{share:.0%}",
            )
        table.add(each.candidate.name, *cells)
    return table


def drift_table(measured: Sequence[Measured], images: str) -> Table:
    """Picture quality against HR and against the PyTorch reference."""
    table = Table(
        f"Drift in dB PSNR-Y against the FP32 reference, on {images}",
        (
            "artefact",
            "PSNR-Y",
            "SSIM-Y",
            "mean",
            "worst",
            "worst image",
            "to reference",
            "unrounded",
            "equal",
            "max step",
        ),
    )
    for each in measured:
        if each.quality is None:
            continue
        report, counts = each.quality.report, each.quality.differences
        table.add(
            report.variant,
            f"{report.mean_psnr:.3f}",
            "-" if math.isnan(report.mean_ssim) else f"{report.mean_ssim:.4f}",
            signless_zero(report.mean),
            signless_zero(report.worst.drift),
            report.worst.name if report.worst.drift else "-",
            f"{report.psnr_to_reference:.1f}",
            "-" if math.isnan(report.unrounded_to_reference) else f"{report.unrounded_to_reference:.1f}",
            share_text(counts[0], sum(counts)),
            str(len(counts) - 1),
        )
    return table


def tile_table(measured: Sequence[Measured], tiles: str) -> Table:
    """What tiles cost each candidate: its picture in tiles against its own picture in one piece."""
    table = Table(
        f"Tile drift in dB PSNR-Y: tiles of {tiles}, against the same artefact in one piece",
        ("artefact", "PSNR-Y in tiles", "mean", "worst", "worst image", "to one piece"),
    )
    for each in measured:
        tiled = None if each.quality is None else each.quality.tiled
        if tiled is None:
            continue
        worst = tiled.worst
        table.add(
            tiled.variant,
            f"{tiled.mean_psnr:.3f}",
            signless_zero(tiled.mean),
            signless_zero(worst.drift),
            worst.name,
            f"{tiled.psnr_to_reference:.1f}",
        )
    return table
