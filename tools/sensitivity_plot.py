"""``python -m tools.sensitivity_plot FILE.sensitivity.json OUT.png``: what ``--sensitivity`` found, as a picture."""

from __future__ import annotations

import argparse
import io
import json
from types import NoneType
from typing import TYPE_CHECKING, Any

from defian_edge.export.precision.int8.sites import is_module, is_stream
from defian_edge.runtime.arguments import path_of
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import write_whole
from tools.study import message, parsed

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

SHOWN = 24
"""Modules and groups with a bar of their own; the other groups share one."""
COLOURS = {
    "whole module": "#3d3d46",
    "residual stream": "#b5402f",
    "tail and upscale": "#c98a1b",
    "block": "#2f6db5",
    "attention": "#4f8f57",
    "all others together": "#8a8f98",
}


def kind_of(group: str, groups: Collection[str]) -> str:
    """Which part of the network a group among all of a ranking is."""
    if is_module(group, groups):
        return "whole module"
    if is_stream(group):
        return "residual stream"
    if group in ("tail", "upscale"):
        return "tail and upscale"
    return "attention" if ".coder" in group else "block"


def draw(sensitivities: Sequence[dict[str, Any]], title: str) -> Figure:
    """Bars of the error that each group, and each whole module, adds when it alone is INT8; the most harmful first.

    Args:
        sensitivities: as :func:`export.precision.int8.sensitivity.as_json` writes them, in any order; a group at
            fault has no bar.
        title: above the picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    measured = [each for each in sensitivities if each["excess_error"] is not None]
    ranked = sorted(measured, key=lambda each: -each["excess_error"])
    groups = [each["group"] for each in sensitivities]
    bars = [
        (each["group"], float(each["excess_error"]), COLOURS[kind_of(each["group"], groups)]) for each in ranked[:SHOWN]
    ]
    rest = [each for each in ranked[SHOWN:] if not is_module(each["group"], groups)]
    if rest:
        total = sum(max(each["excess_error"], 0.0) for each in rest)
        bars.append((f"{len(rest)} others together", total, COLOURS["all others together"]))
    figure = Figure(figsize=(8.0, 0.9 + 0.24 * len(bars)), layout="constrained")
    axes = figure.add_subplot()
    axes.barh([name for name, _, _ in bars], [error for _, error, _ in bars], color=[colour for _, _, colour in bars])
    axes.invert_yaxis()
    axes.set_xlabel("mean squared error that it adds to the picture, 8-bit steps squared")
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    used = {colour for _, _, colour in bars}
    legend = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items() if colour in used]
    axes.legend(handles=legend, loc="lower right", frameon=False)
    return figure


def load_sensitivities(path: Path) -> list[dict[str, Any]]:
    """The ranking in a file that ``export.py --sensitivity`` wrote.

    Raises:
        DefianError: it is missing, or something else.
    """
    hint = "Make one: python export.py --model M --precision int8 --sensitivity --out DIR"
    try:
        sensitivities = json.loads(path.read_bytes())
    except OSError as error:
        raise DefianError(f"{path} cannot be read: {error.strerror}.", hint) from error
    except ValueError:
        raise DefianError(f"{path} is not JSON.", hint) from None
    if (
        not isinstance(sensitivities, list)
        or not sensitivities
        or not all(_is_sensitivity(each) for each in sensitivities)
    ):
        raise DefianError(f"{path} holds no ranking: expected a list of groups with their excess_error.", hint)
    return sensitivities


def _is_sensitivity(sensitivity: object) -> bool:
    return (
        isinstance(sensitivity, dict)
        and isinstance(sensitivity.get("group"), str)
        and isinstance(sensitivity.get("excess_error", ""), (int, float, NoneType))
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture; exits with 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m tools.sensitivity_plot", description=__doc__)
    parser.add_argument("ranking", type=path_of("RANKING"), help="FILE.sensitivity.json")
    parser.add_argument("picture", type=path_of("PICTURE"), help="PNG or SVG to write")
    options = parsed(parser, arguments)
    with message():
        _write(options.ranking, options.picture)


def _write(ranking: Path, picture: Path) -> None:
    sensitivities = load_sensitivities(ranking)
    kind = picture.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise DefianError(f"{picture}: expected a name that ends in .png or .svg.")
    try:
        figure = draw(sensitivities, ranking.name.removesuffix(".sensitivity.json"))
    except ModuleNotFoundError as error:
        raise DefianError(f"{error.name} is not installed here.", "pip install 'defian-edge[report]'") from error
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=110)
    write_whole(picture, buffer.getvalue())


if __name__ == "__main__":
    main()
