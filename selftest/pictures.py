"""The pictures, networks and graphs that the stages share."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.rewrites import Use
from defian_edge.runtime.images import write_png
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.selftest.protocol import CannotRun

if TYPE_CHECKING:
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.selftest.protocol import Settings

MODELS = ("defian-s-x2", "defian-s-x4")
SIZES = ((180, 320), (360, 640), (540, 960), (720, 1280))
"""LR heights and widths whose latency is measured."""
PROFILE = "1x32x32,1x360x640,1x720x1280"
"""From below Set5's smallest LR picture, 57x86."""


def scale_of(model: str) -> int:
    """``defian-s-x4`` -> 4."""
    return int(model[-1])


def sources(settings: Settings, scale: int) -> tuple[Path, Path]:
    """Folders of LR and HR pictures: Set5's, or the bundled photos, written into the run's folder."""
    root = Path(settings.set5)
    folders = (root / f"LRx{scale}", root / "HR")
    if settings.set5 and all(folder.is_dir() for folder in folders):
        return folders
    low, high = (Path(settings.folder) / "pictures" / f"{name}x{scale}" for name in ("LR", "HR"))
    if not high.is_dir():
        for pair in evaluation_pairs(scale, None, None, None):
            for folder, picture in ((low, pair.lr), (high, pair.hr)):
                folder.mkdir(parents=True, exist_ok=True)
                write_png(folder / f"{pair.name}.png", picture)
    return low, high


def pairs_of(settings: Settings, scale: int) -> list[EvaluationPair]:
    """What drift is measured on."""
    lr, hr = sources(settings, scale)
    return evaluation_pairs(scale, None, lr, hr)


ENGINE = "engine"
"""In the names of graphs that are made to be compiled, which ``export.py`` tells by the target alone."""
ORDER = ("plain.fp32", "fp32", "plain.fp16", "fp16", f"{ENGINE}.fp16", "int8")


def graphs_of(settings: Settings, model: str, first: str = "fp32") -> list[Path]:
    """The graphs of a model, those of the precision ``first`` first, what is compared with beside what is compared.

    They are exported if there are none; the stages after this one find them again.
    """
    folder = Path(settings.graphs) if settings.graphs else Path(settings.folder) / "graphs" / model
    if settings.graphs and not any(folder.glob(f"{model}.*.onnx")):
        raise CannotRun(f"--graphs {folder} holds no graph of {model}.")
    if not folder.is_dir():
        _export(settings, model, folder)
    found = sorted(folder.glob(f"{model}.*.onnx"))
    rank = {f"{model}.{name}.onnx": index for index, name in enumerate(ORDER)}

    def place(path: Path) -> tuple[bool, int, str]:
        return f".{first}." not in path.name, rank.get(path.name, len(ORDER)), path.name

    return sorted(found, key=place)


def _export(settings: Settings, model: str, folder: Path) -> None:
    """Plain and portable in FP32 and FP16, for engines in FP16; the folder has its name only when all are there."""
    lr, hr = sources(settings, scale_of(model))
    partial = folder.with_name(f"{folder.name}.partial")
    for use in (None, Use.PORTABLE, Use.ENGINE):
        options = ExportOptions(
            partial, (Precision.FP32, Precision.FP16), lr=lr, hr=hr, plain=use is None, graph_for=use,
            rewrite_memory=False, reference_size=0.0, profile=ShapeProfile.parse(PROFILE),
            command=shlex.join(["python", "-m", "selftest"]),
        )  # fmt: skip
        if use is Use.ENGINE:
            options = replace(options, out=partial / ENGINE, precisions=(Precision.FP16,))
        run_export(model, options)
    for graph in (partial / ENGINE).glob("*.onnx"):  # of the same name as the portable one
        name = graph.name.replace(f"{model}.", f"{model}.{ENGINE}.", 1)
        (partial / name).write_bytes(graph.read_bytes())
        replace(read_manifest(graph), file=name).write(partial)
    shutil.rmtree(partial / ENGINE)
    partial.rename(folder)
