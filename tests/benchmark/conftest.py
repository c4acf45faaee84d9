"""Artefacts to benchmark: a tiny checkpoint with its graphs; a made-up result, its page and a browser to look at it."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from filelock import FileLock

from defian_edge.benchmark.command import main
from defian_edge.benchmark.report.page import write_page
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.runtime.images import write_png
from defian_edge.runtime.profile import ShapeProfile
from tests.benchmark.browser import BROWSER_OPTIONS
from tests.benchmark.results import made_up_result
from tests.conftest import noise, random_checkpoint, tiny

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from defian_edge.benchmark.results import BenchResult

QUICK = ["--shape", "12x16", "--rounds", "2", "--seconds", "0", "--warm-up", "0"]


def bench(*arguments) -> int:
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(str(stopped.value.code or 0))


@pytest.fixture(scope="module")
def recorded(artefacts, photos, tmp_path_factory):
    """A whole run, without the memory section: its exit status and its JSON."""
    path = tmp_path_factory.mktemp("recorded") / "bench.json"
    files = ["tiny.pth", "tiny.fp32.onnx", "tiny.int8.onnx"]
    more = ["--batch", "1,2", "--device", "rtx4090", "--dataset", photos, "--json", path, "--no-memory"]
    status = bench(*(artefacts / name for name in files), *QUICK, *more)
    return status, path, json.loads(path.read_text())


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name, shape in (("even", (40, 48, 3)), ("odd", (41, 47, 3))):
        write_png(folder / f"{name}.png", noise(*shape))
    return folder


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory, photos) -> Path:
    """A folder with tiny.pth, its FP32 and INT8 graphs and, with TensorRT-RTX, an FP32 and an INT8 engine.

    It is made once for all workers; tests only read it.
    """
    shared = tmp_path_factory.getbasetemp()
    folder = (shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared) / "artefacts"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            making = folder.with_name("artefacts.making")
            _make_artefacts(making, photos)
            making.rename(folder)
    return folder


def _make_artefacts(folder: Path, photos: Path) -> None:
    folder.mkdir()
    torch.save({"state_dict": random_checkpoint(tiny()).state}, folder / "tiny.pth")
    torch.save({"state_dict": random_checkpoint(tiny(3)).state}, folder / "other-scale.pth")
    rtx = is_available(Target.TENSORRT_RTX)
    options = ExportOptions(
        folder,
        precisions=(Precision.FP32, Precision.INT8),
        target=Target.TENSORRT_RTX if rtx else Target.ONNX,
        sm=89 if rtx else None,
        profile=ShapeProfile.parse("1x8x8,1x32x32,2x64x64"),
        dataset=photos,
        patches=2,
        rewrite_memory=False,
        command="python export.py --model tiny.pth",
    )
    run_export(folder / "tiny.pth", options)


@pytest.fixture(scope="module")
def result() -> BenchResult:
    return made_up_result()


@pytest.fixture(scope="module")
def written(result, tmp_path_factory) -> Path:
    return write_page(result, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(BROWSER_OPTIONS))
        yield browser
        browser.close()
