"""Reads the result of an earlier run, and refuses one that a comparison would stumble over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from defian_edge.benchmark.results import SCHEMA
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.json_values import parse_json

if TYPE_CHECKING:
    from pathlib import Path

_MISSING = object()
_DRIFT = ("mean_drift_db", "worst_drift_db", "psnr_to_reference")
_MEMORY = {"host": ("loaded", "peak"), "device": ("loaded", "peak")}


class _Damage(Exception):  # noqa: N818 - it never leaves this file
    """Where a result is not what a comparison needs."""


def read_json(path: Path) -> dict[str, Any]:
    """A result that an earlier run wrote.

    Everything that is compared is looked at: a damaged file must not show after minutes of measuring.

    Raises:
        DefianError: it is missing, not JSON, of another schema, or damaged; with the first field that is.
    """
    if not path.is_file():
        raise DefianError(f"No benchmark result at {path}.", "Write one with: python bench.py ... --json FILE")
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DefianError(f"{path} is not JSON ({error}).", "Write it again with --json.") from error
    found = content.get("schema") if isinstance(content, dict) else None
    try:
        if found != SCHEMA:
            raise _Damage(f"schema {found!r}")  # noqa: TRY301 - one message for both
        _look_at(content)
    except _Damage as damage:
        what = damage if found != SCHEMA else f"a damaged one, {damage}"
        raise DefianError(
            f"{path}: expected a whole benchmark result of schema {SCHEMA}, found {what}.",
            "Measure again with this version and --json.",
        ) from None
    return content


def _look_at(content: dict[str, Any]) -> None:
    environment = _field(content, "", "environment", dict)
    for name in ("packages", "threads", "gpu"):
        _optional(environment, "environment.", name, dict)
    for name in ("images", "images_sha256", "tiles"):
        _field(content, "", name, str)
    shapes = _field(content, "", "shapes", list)
    if not shapes or not all(isinstance(each, str) and each.replace("x", "").isdigit() for each in shapes):
        raise _Damage(f"shapes is {shapes!r}")
    candidates = _field(content, "", "candidates", list)
    if not candidates:
        raise _Damage("without candidates")
    for index, each in enumerate(candidates):
        where = f"candidates[{index}]"
        if not isinstance(each, dict):
            raise _Damage(f"{where} is {each!r}")
        _look_at_candidate(each, f"{where}.")


def _look_at_candidate(candidate: dict[str, Any], where: str) -> None:
    for name in ("name", "backend", "model", "precision"):
        _field(candidate, where, name, str)
    for index, latency in enumerate(_field(candidate, where, "latencies", list)):
        place = f"{where}latencies[{index}]"
        if not isinstance(latency, dict):
            raise _Damage(f"{place} is {latency!r}")
        _field(latency, f"{place}.", "shape", str)
        seconds = _field(latency, f"{place}.", "seconds", list)
        if not seconds or not all(_is_number(each) and each > 0 for each in seconds):
            raise _Damage(f"{place}.seconds holds something else than times")
    for section in ("drift", "tile_drift"):
        drift = _optional(candidate, where, section, dict)
        if drift is not None:
            _look_at_drift(drift, f"{where}{section}.")
    memory = _optional(candidate, where, "memory", dict)
    for part, figures in _MEMORY.items() if memory is not None else ():
        sizes = _optional(memory or {}, f"{where}memory.", part, dict)
        for figure in figures if sizes is not None else ():
            _number(sizes or {}, f"{where}memory.{part}.", figure)
    _number(candidate, where, "activation_bytes_planned", optional=True)


def _look_at_drift(drift: dict[str, Any], where: str) -> None:
    for figure in _DRIFT:
        _number(drift, where, figure, optional=True)  # JSON has no infinity
    for index, image in enumerate(_field(drift, where, "images", list)):
        place = f"{where}images[{index}]"
        if not isinstance(image, dict):
            raise _Damage(f"{place} is {image!r}")
        _number(image, f"{place}.", "reference_psnr", optional=True)


def _field(holder: dict[str, Any], where: str, name: str, kind: type) -> Any:  # noqa: ANN401 - any of JSON's types
    value = holder.get(name, _MISSING)
    if not isinstance(value, kind):
        raise _Damage(f"without {where}{name}" if value is _MISSING else f"{where}{name} is {value!r:.60}")
    return value


def _optional(holder: dict[str, Any], where: str, name: str, kind: type) -> Any:  # noqa: ANN401 - any of JSON's types
    return None if holder.get(name, _MISSING) is None else _field(holder, where, name, kind)


def _number(holder: dict[str, Any], where: str, name: str, *, optional: bool = False) -> None:
    value = holder.get(name, _MISSING)
    if not (_is_number(value) or (optional and value is None)):
        raise _Damage(f"without {where}{name}" if value is _MISSING else f"{where}{name} is {value!r:.60}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
