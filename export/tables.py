"""What an export prints: what the rewrites saved, what the variants cost, what the compiler planned."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from defian_edge.export.engine.compiler import Target
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.sites import is_module
from defian_edge.export.precision.shares import verdict
from defian_edge.runtime.hardware.here import device_for
from defian_edge.runtime.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from defian_edge.calibration.drift.report import DriftReport
    from defian_edge.export.artefacts import Artefact, ExportResult
    from defian_edge.export.engine.memory_plan import Step
    from defian_edge.export.pack.write import WrittenPack
    from defian_edge.export.precision.shares import GraphShares
    from defian_edge.runtime.profile import ShapeProfile

NAMED = 5
"""So many tensors are listed."""
MEGA, GIGA = 1e6, 1e9
DRIFT_COLUMNS = ("mean dB", "worst dB", "worst image", "8-bit dB", "unrounded dB")
"""Heads of :func:`drift_cells`."""


def pack_words(pack: WrittenPack) -> str:
    """What a reference pack holds, to be read behind its name."""
    left_out = f", {pack.left_out} photos left out for want of room" if pack.left_out else ""
    return (
        f" ({len(pack.pictures)} pictures for `python -m runtime verify`, {len(pack.content) / MEGA:.2f} MB{left_out})"
    )


def rewrite_table(steps: Sequence[Step], profile: ShapeProfile) -> Table:
    """Per rewrite: places changed, nodes, MACs, planned memory, kernels and bytes, each as it is after the rewrite.

    What was not planned is a dash.
    """
    shape = "x".join(map(str, profile.maximum))
    table = Table(
        f"Rewrites, {shape} LR (memory, kernels, GB moved: FP16 engine, TensorRT-RTX sm_89)",
        ("after", "places", "nodes", "GMACs", "activation MB", "kernels", "GB moved"),
    )
    for step in steps:
        places = str(step.sites) if step is not steps[0] else ""
        moved = ("-", "-") if step.traffic is None else (str(step.traffic.kernels), f"{step.traffic.bytes / GIGA:.2f}")
        memory = "-" if step.activation_bytes is None else _megabytes(step.activation_bytes)
        table.add(step.name, places, str(step.nodes), f"{step.macs / GIGA:.1f}", memory, *moved)
    return table


def unused_lines(steps: Sequence[Step]) -> list[str]:
    """Which rewrites changed nothing, and why."""
    return [f"{step.name}: 0 places: {step.why_none}." for step in steps if step.why_none]


TILED = {
    "discouraged": " spandrel discourages tiles of this network: see what they cost by bench.py --tile.",
    "internal": " This network cuts its pictures into tiles itself: give it whole ones.",
}
"""What is told of spandrel's word on tiles; "supported" needs none."""


def reach_words(reach: dict[str, Any], tiling: str = "") -> str:
    """What is known of how far a pixel is seen, in a sentence; see :mod:`defian_edge.export.source.reach`.

    Args:
        reach: as it was measured.
        tiling: what a loader says of tiles, as a manifest's ``source`` keeps it; empty if nothing.
    """
    more = TILED.get(tiling, "")
    if reach["whole_image"]:
        return f"A pixel depends on the whole image: an image in tiles is another image.{more}"
    pixels = reach["pixels"]
    return f"A pixel depends on {pixels} pixels around it: tiles that overlap by {4 * pixels} see all of them.{more}"


def drift_table(artefacts: Sequence[Artefact], budget: float | None, reference: str = "PyTorch") -> Table:
    """Per variant: picture quality, drift, and PSNR against the reference's own output with and without rounding."""
    limit = "" if budget is None else f", budget {budget:g} dB per image"
    table = Table(
        f"Drift in dB PSNR-Y against the {reference} FP32 reference{limit}",
        ("variant", "PSNR-Y", "SSIM-Y", "mean", "worst", "worst image", "to reference", "unrounded", "MB"),
        words=("worst image",),
    )
    for artefact in artefacts:
        report = artefact.drift
        if report is None:
            continue
        size = artefact.files[0].stat().st_size / MEGA if artefact.files else math.nan
        table.add(
            report.variant,
            f"{report.mean_psnr:.3f}",
            f"{report.mean_ssim:.4f}",
            _signless_zero(report.mean),
            _signless_zero(report.worst.drift),
            report.worst.name,
            f"{report.psnr_to_reference:.1f}",
            f"{report.unrounded_to_reference:.1f}",
            f"{size:.2f}" if artefact.files else "not written",
        )
    return table


def drift_cells(report: DriftReport) -> tuple[str, ...]:
    """What a method cost in the tables that compare methods: drift, and PSNR against the reference's own output."""
    return (
        f"{report.mean:+.4f}",
        f"{report.worst.drift:+.4f}",
        report.worst.name,
        f"{report.psnr_to_reference:.2f}",
        f"{report.unrounded_to_reference:.2f}",
    )


def shares_table(artefacts: Sequence[Artefact]) -> Table:
    """Per variant: which share of nodes, MACs and feature-map bytes each type has."""
    names = ("nodes", "MACs", "bytes of feature maps")
    table = Table("Precision, counted on the finished graphs", ("variant", *names), words=names)
    for artefact in artefacts:
        counted = artefact.shares
        table.add(
            artefact.variant.precision.value,
            *(_percentages(shares) for shares in (counted.nodes, counted.macs, counted.feature_bytes)),
        )
    return table


def _percentages(shares: dict[str, float]) -> str:
    return ", ".join(f"{kind} {100.0 * share:.1f} %" for kind, share in shares.items() if kind != "other")


def range_lines(artefacts: Sequence[Artefact]) -> list[str]:
    """What was measured to leave FP16's range, which of it stays FP32 for that reason alone, and mixed types."""
    lines = []
    for artefact in artefacts:
        variant = artefact.variant
        if variant.mixed and "refused" not in variant.mixed:
            chosen = _mixed(variant.mixed)
            lines.append(f"{variant.precision.value}: mixed types, as images missed the budget; {chosen}.")
        count = len(variant.beyond.tensors) + len(variant.beyond.sums)
        if variant.precision is Precision.FP32 or count == 0:
            continue
        alone = ", ".join(variant.by_measurement[:NAMED])
        more = len(variant.by_measurement) - NAMED
        kept = f"FP32 for that alone: {alone}{f' and {more} more' if more > 0 else ''}" if alone else "all FP32 anyway"
        lines.append(f"{variant.precision.value}: {count} tensors and sums leave FP16's range as measured; {kept}.")
    return lines


def _mixed(mixed: dict[str, Any]) -> str:
    """Which parts have which type, in words."""
    words = {"bf16": "BF16 where FP16's range ends", "fp32_range": "FP32 where FP16's range ends", "fp32": "FP32"}
    told = [f"{words[key]}: {', '.join(mixed[key])}" for key in words if mixed[key]]
    return f"{'; '.join(told)} (of {mixed['parts']} parts, {mixed['trials']} graphs measured)"


def int8_lines(
    artefacts: Sequence[Artefact], fp16: GraphShares | None, target: Target, device: str | None = None
) -> list[str]:
    """What is INT8, what had to stay FP16, the ranking if it was made, and whether INT8 can be faster than ``fp16``.

    ``device`` is the one that the engines are for, by its name in the table; None where none was named.
    """
    int8 = next((artefact for artefact in artefacts if artefact.variant.precision is Precision.INT8), None)
    if int8 is None:
        return []
    calibration = int8.variant.calibration
    mixed = calibration["mixed_precision"]
    lines = [
        f"INT8 covers {100 * int8.shares.macs.get('int8', 0.0):.1f} % of the convolutions' MACs and "
        f"{100 * mixed['byte_share']:.1f} % of the bytes that the feature maps have in FP16; "
        f"calibration cache {calibration['cache']}."
    ]
    if mixed["dropped"]:
        lines.append(f"FP16 to keep the budget on the validation photos: {', '.join(mixed['dropped'])}.")
    parts = [sensitivity["group"] for sensitivity in calibration["sensitivity"]]
    lines += [
        _sensitivity_line(sensitivity, whole=is_module(sensitivity["group"], parts))
        for sensitivity in calibration["sensitivity"]
    ]
    if fp16 is not None:
        capability = None if int8.engine is None else int8.engine.compute_capability
        known = None if device is None else device_for(device)
        lines.append(verdict(int8.shares, fp16, capability, known, wide_results=target is Target.TENSORRT_RTX))
    return lines


def _sensitivity_line(sensitivity: dict[str, Any], *, whole: bool) -> str:
    """One part of the sensitivity ranking. What is not finite is null in JSON: all of it where a guard fired."""
    name = f"{sensitivity['group']} (whole)" if whole else sensitivity["group"]
    forms = {"excess_error": ".5f", "mean_drift_db": "+.4f", "worst_drift_db": "+.4f"}
    error, mean, worst = (
        "not finite" if sensitivity[key] is None else f"{sensitivity[key]:{form}}" for key, form in forms.items()
    )
    covered = f"{100 * sensitivity['mac_share']:.1f} % of MACs"
    return f"  {name:<22} excess error {error}, drift {mean} mean {worst} worst dB, {covered}"


def engine_table(artefacts: Sequence[Artefact]) -> Table:
    """The compiler's own figures."""
    table = Table(
        "Engines (sizes in MB, by the compiler)",
        ("file", "activation", "weights", "engine", "layers", "kernels", "GB moved", "build s"),
    )
    for artefact in artefacts:
        facts = artefact.engine
        if facts is not None:
            table.add(
                next(path.name for path in artefact.files if path.suffix == ".engine"),
                _megabytes(facts.activation_bytes),
                _megabytes(facts.weights_bytes),
                _megabytes(facts.engine_bytes),
                str(facts.layers),
                "-" if facts.kernels is None else str(facts.kernels),
                "-" if facts.moved_bytes is None else f"{facts.moved_bytes / GIGA:.2f}",
                f"{facts.build_seconds:.1f}",
            )
    return table


def file_lines(result: ExportResult) -> list[str]:
    """Every file that was written, and every version that was added to a Triton repository."""
    lines = [f"wrote {path}" for artefact in result.artefacts for path in artefact.files]
    if result.pack is not None:
        lines.append(f"wrote {result.pack_path}{pack_words(result.pack)}")
    kept = " (its config.pbtxt was left as it is, and differs)"
    return [*lines, *(f"added {each.folder / each.file}{kept if each.config_kept else ''}" for each in result.served)]


def refusals(artefacts: Sequence[Artefact]) -> list[str]:
    """One line per guard that fired and per image over the budget, the worst first."""
    return [sentence for artefact in artefacts for sentence in artefact.verdict.sentences]


def _megabytes(size: int | None) -> str:
    return "not measured" if size is None else f"{size / MEGA:.1f}"


def _signless_zero(value: float) -> str:
    """``-0.0000`` reads like a gain; it is none."""
    text = f"{value:.4f}"
    return "0.0000" if text == "-0.0000" else text
