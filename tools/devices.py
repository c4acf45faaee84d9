"""``python -m tools.devices`` writes the table of docs/devices.md from the code."""

from __future__ import annotations

from pathlib import Path

from defian_edge.export.device import choose
from defian_edge.runtime.hardware.device import GIBI, GIGA, TERA, Device
from defian_edge.runtime.hardware.jetsons import TENSORRT
from defian_edge.runtime.hardware.table import ALIASES, DEVICES

PAGE = Path(__file__).resolve().parents[1] / "docs" / "devices.md"
BEGIN, END = "<!-- by python -m tools.devices -->\n", "<!-- end -->\n"
ARCHIVE = "https://developer.nvidia.com/embedded/jetpack-archive"
HEADS = ("`--device`", "capability", "GB", "GB/s", "FP32", "FP16", "INT8", "FP8", "power", "TensorRT")
HEADS = (*HEADS, "export", "source")


def table() -> str:
    """Every device, a line each, and the TensorRT of every JetPack."""
    rows = [HEADS, ("---",) * len(HEADS), *(_row(device) for device in DEVICES.values())]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    brought = ", ".join(f"{jetpack} has {version}" for jetpack, version in TENSORRT.items())
    return f"{lines}\nTensorRT by JetPack ({ARCHIVE}): {brought}.\n"


def page(text: str) -> str:
    """docs/devices.md with its table made anew.

    Raises:
        ValueError: the marks around the table are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE}: expected the lines {BEGIN.strip()} and {END.strip()}")
    return before + begin + table() + end + after


def _row(device: Device) -> tuple[str, ...]:
    names = [device.name, *(alias for alias, name in ALIASES.items() if name == device.name)]
    rates = (device.fp32, device.fp16, device.int8, device.fp8)
    brought = dict.fromkeys(TENSORRT[each] for each in device.jetpacks)
    choice = choose(device, None)
    options = [choice.target.value, *([f"--sm {choice.sm}"] if choice.sm is not None else [])]
    there = choose(device, device)
    if there.target is not choice.target:
        options.append(f"(there {there.target.value}")
        options[-1] += f", --workspace {there.workspace_mib})" if there.workspace_mib else ")"
    return (
        ", ".join(names),
        f"{device.capability[0]}.{device.capability[1]}",
        f"{device.memory // GIBI}{' shared' if device.unified else ''}",
        f"{device.bandwidth / GIGA:g}",
        *(_rate(rate) for rate in rates),
        device.power,
        ", ".join(brought) or "any",
        " ".join(options),
        device.source.partition("; its GPU clock")[0],
    )


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate / TERA:.1f}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
