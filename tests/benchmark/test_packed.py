"""The drift section on a reference pack: the same figures as with PyTorch, and where there is no PyTorch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from defian_edge.benchmark.measure.packed import own_pack
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.runtime.profile import ShapeProfile
from tests.benchmark.conftest import QUICK, bench
from tests.conftest import REPOSITORY, random_checkpoint, tiny

if TYPE_CHECKING:
    from pathlib import Path

ROOMS = ("benchmark", "calibration", "export", "models", "runtime")
BARE = """
import runpy, sys

class Bare:
    def find_spec(self, name, path=None, target=None):
        lacking = {"torch", "onnx", "onnx_ir", "skimage", "scipy", "rich", "typer", "jinja2"}
        if name.partition(".")[0] in lacking:
            raise ModuleNotFoundError(f"No module named {name!r} on this device", name=name)

import importlib.util
find_spec = importlib.util.find_spec

def bare(name, package=None):
    try:
        return find_spec(name, package)
    except ModuleNotFoundError:
        return None

importlib.util.find_spec = bare
import importlib.metadata
version = importlib.metadata.version
def installed(name):
    if name in ("torch", "onnx"):
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)
importlib.metadata.version = installed
sys.meta_path.insert(0, Bare())
sys.argv[0] = "bench.py"
runpy.run_path("bench.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A tiny checkpoint, its FP32 graph and their pack."""
    folder = tmp_path_factory.mktemp("exported")
    torch.save({"state_dict": random_checkpoint(tiny()).state}, folder / "tiny.pth")
    profile = ShapeProfile.parse("1x8x8,1x32x32,1x64x64")
    run_export(folder / "tiny.pth", ExportOptions(folder, (Precision.FP32,), profile=profile, rewrite_memory=False))
    return folder


def drift_of(path: Path) -> dict:
    return json.loads(path.read_text())["candidates"][-1]["drift"]


def test_a_packs_drift_is_that_of_its_manifest(exported, tmp_path, capsys):
    [pack] = exported.glob("*.reference.zip")
    graph, said = exported / "tiny.fp32.onnx", tmp_path / "said.json"
    arguments = [*QUICK, "--no-memory", "--reference", pack, "--json", said, "--report", tmp_path / "report"]
    assert bench(exported / "tiny.pth", graph, *arguments) == 0
    promised = json.loads((exported / "tiny.fp32.onnx.json").read_text())["reference"]["promised"]
    images = {each["name"]: each for each in drift_of(said)["images"]}
    assert set(images) == {"astronaut, small", "astronaut", "chelsea"}
    for name, image in images.items():
        assert image["psnr"] == promised[name]["psnr_y"]
        assert image["reference_psnr"] == promised[name]["reference_psnr_y"]
        assert image["psnr_to_reference"] == promised[name]["psnr_to_reference"]
    content = json.loads(said.read_text())
    assert content["candidates"][0]["drift"]["psnr_to_reference"] is None, "PyTorch against its own pictures"
    assert content["reference"].startswith(f"PyTorch's pictures in {pack.name} (SHA-256 ")
    assert (
        f"The drift is measured against PyTorch&#39;s pictures in {pack.name}"
        in (tmp_path / "report" / "index.html").read_text()
    )
    assert f"3 photos of {pack.name}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("given", [False, True])
def test_without_pytorch_speed_and_drift_are_told_with_the_runtimes_packages(exported, tmp_path, given):
    for room in ROOMS:
        shutil.copytree(REPOSITORY / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "bench.py", tmp_path)
    for path in (*exported.glob("tiny.fp32.onnx*"), *exported.glob("*.zip")):
        shutil.copy(path, tmp_path)
    [pack] = tmp_path.glob("*.reference.zip")
    options = ["--json", "said.json", "--no-memory", "--threads", "1", "--max-drift", "0.01", *QUICK]
    command = [sys.executable, "-c", BARE, "tiny.fp32.onnx", *options, *(["--reference", pack.name] if given else [])]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Latency at 1x12x16 LR in ms" in done.stdout
    assert f"on 3 photos of {pack.name}, with the reference's pictures from there" in done.stdout
    assert "note SSIM-Y is not known" in done.stdout
    assert "note Work and bounds were not counted" in done.stdout
    assert drift_of(tmp_path / "said.json")["psnr_to_reference"] > 80
    images = [*command, "--dataset", "runtime"]
    refused = subprocess.run(images, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert refused.returncode == 2
    assert ("found both" if given else "No image below runtime") in refused.stderr


def test_a_pack_of_another_network_and_other_images_beside_it_are_refused(exported, tmp_path, capsys):
    [pack] = exported.glob("*.reference.zip")
    assert bench("defian-s-x2", *QUICK, "--no-memory", "--reference", pack) == 2
    assert "is a reference of another network than defian-s-x2 (PyTorch)" in capsys.readouterr().err
    assert bench(exported / "tiny.fp32.onnx", *QUICK, "--reference", pack, "--dataset", tmp_path) == 2
    assert "or a reference pack, which has photos of its own, found both" in capsys.readouterr().err


def test_an_artefacts_own_pack_is_found_where_it_lies_beside_it(exported, tmp_path):
    [pack] = exported.glob("*.reference.zip")
    assert own_pack(["defian-s-x2", str(exported / "tiny.fp32.onnx")]) == str(pack)
    for path in exported.glob("tiny.fp32.onnx*"):
        shutil.copy(path, tmp_path)
    assert own_pack([str(tmp_path / "tiny.fp32.onnx"), str(tmp_path / "none.onnx")]) is None
