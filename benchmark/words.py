"""How figures become words."""

from __future__ import annotations

MEGA = 1e6


def counted(number: int, noun: str) -> str:
    """``1 image``, ``5 images``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def share_text(part: int, whole: int) -> str:
    """A share in per cent that says 100 only if nothing is missing."""
    text = f"{part / whole:.2%}"
    return ">99.99%" if text == "100.00%" and part < whole else text


def milliseconds(seconds: float) -> str:
    """Seconds as ms, with four figures or as many decimals as it takes: a GPU needs 1.234, a CPU 231.9."""
    value = 1e3 * seconds
    return f"{value:.{1 if value >= 100 else 2 if value >= 10 else 3}f}"


def megabytes(size: int | None) -> str:
    """Bytes as MB; a dash for what is not known."""
    return "-" if size is None else f"{size / MEGA:.1f}"


def signless_zero(value: float) -> str:
    """``-0.0000`` reads like a gain; it is none."""
    text = f"{value:.4f}"
    return "0.0000" if text == "-0.0000" else text
