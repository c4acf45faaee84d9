from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import onnx_ir as ir
import pytest
import torch
from PIL import Image

from defian_edge import __version__
from defian_edge.export.reference import reference_outputs
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.runtime.manifest import read_manifest
from tests.conftest import REPOSITORY, noise, random_checkpoint, tiny

if TYPE_CHECKING:
    from pathlib import Path


def export(*arguments, cwd=None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(REPOSITORY / "export.py"), *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "120", "TERM": "dumb"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "small.pth"
    torch.save({"epoch": 1, "state_dict": random_checkpoint(tiny()).state}, path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        Image.fromarray(noise(70, 80, 3, seed=index)).save(folder / f"{index}.png")
    return folder


def test_the_whole_way_from_a_checkpoint_to_graphs_engines_and_manifests(checkpoint, photos, tmp_path):
    options = [
        "--model",
        checkpoint,
        "--calibration",
        photos,
        "--patches",
        4,
        "--dataset",
        photos,
        "--out",
        tmp_path / "b",
    ]
    engines = ["--target", "tensorrt-rtx", "--sm", 89, "--profile", "1x8x8,1x32x32,2x64x64"]
    done = export(*options, *engines)
    assert done.returncode == 0, done.stderr
    for precision in ("fp32", "fp16", "int8"):
        graph = tmp_path / "b" / f"small.{precision}.onnx"
        engine = tmp_path / "b" / f"small.{precision}.tensorrt-rtx.engine"
        manifest, plan = read_manifest(graph), read_manifest(engine)
        assert plan.parent_sha256 == manifest.sha256
        assert manifest.built_by == plan.built_by == f"defian-edge {__version__}"
        made = ir.load(graph)
        assert (made.producer_name, made.producer_version) == ("defian-edge", __version__)
        assert manifest.scale == 2
        assert plan.engine is not None
        assert plan.engine.activation_bytes
        assert plan.engine.kernels
        assert plan.engine.moved_bytes
        assert manifest.use == plan.use == ("portable" if precision == "int8" else "engine")
        assert ("hessian-slices" in manifest.rewrites) == (precision != "int8")
        assert "early-attention" not in manifest.rewrites  # the profile has a batch of two
        assert str(plan.profile) == "1x8x8,1x32x32,2x64x64"
        assert manifest.drift["worst_image"] in ("0", "1", "2")
        assert f"wrote{engine}" in "".join(done.stdout.split())  # a long path is broken into lines
    int8 = json.loads((tmp_path / "b" / "small.int8.onnx.json").read_text())
    assert int8["calibration"]["photos"] == 3
    assert len(int8["calibration"]["data_sha256"]) == 64
    for heading in ("GB moved", "cheap-hessian", "Drift in dB", "Engines"):
        assert heading in done.stdout


def test_a_variant_over_the_drift_budget_is_refused_and_named(checkpoint, photos, tmp_path):
    # HR close to the reference's own output: whatever else a variant computes costs PSNR, for certain.
    small = noise(32, 40, 3)
    [upscaled] = reference_outputs(load_checkpoint(checkpoint).network(), [small])
    for folder, image in (("lr", small), ("hr", upscaled ^ 1)):
        (tmp_path / folder).mkdir()
        Image.fromarray(image).save(tmp_path / folder / "one.png")
    done = export(
        "--model", checkpoint, "--precision", "int8", "--precision", "fp32", "--calibration", photos, "--patches", 2,
        "--lr", tmp_path / "lr", "--hr", tmp_path / "hr", "--max-drift", 0.01, "--no-rewrite-memory",
        "--out", tmp_path / "b",
    )  # fmt: skip
    assert done.returncode == 1
    assert "refused int8: one lost" in done.stdout
    assert "over the budget of 0.01 dB" in done.stdout
    assert (tmp_path / "b" / "small.fp32.onnx").exists()
    assert not (tmp_path / "b" / "small.int8.onnx").exists()


def test_help_is_answered_without_loading_the_heavy_packages():
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom defian_edge.export.command import app\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and '--max-drift' in result.output\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'onnx_ir', 'tensorrt_rtx', 'polygraphy', 'skimage', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_the_bundled_models_are_listed():
    done = export("--list-models")
    assert done.returncode == 0
    assert "defian-s-x2" in done.stdout


def truncated(folder: Path, checkpoint: Path) -> Path:
    path = folder / "truncated.pth"
    path.write_bytes(checkpoint.read_bytes()[:5000])
    return path


def another_network(folder: Path, _: Path) -> Path:
    path = folder / "other.pth"
    torch.save({"state_dict": torch.nn.Conv2d(3, 3, 3).state_dict()}, path)
    return path


def with_code(folder: Path, _: Path) -> Path:
    path = folder / "code.pth"
    torch.save({"state_dict": print}, path)
    return path


def folder_with(name: str, content: bytes | None):
    def make(folder: Path) -> Path:
        made = folder / "made"
        made.mkdir()
        if content is not None:
            (made / name).write_bytes(content)
        else:
            Image.new("RGB", (1, 1)).save(made / name)
        return made

    return make


def an_existing_file(folder: Path) -> Path:
    (folder / "file").write_text("")
    return folder / "file"


def an_empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


CASES = {
    "missing file": (lambda *_: "nowhere.pth", [], "No model 'nowhere.pth'"),
    "truncated checkpoint": (truncated, [], "truncated"),
    "another network": (another_network, [], "input.weight"),
    "pickle with code": (with_code, [], "run code"),
    "empty calibration folder": (None, ["--calibration", an_empty_folder], "No image below"),
    "text file named png": (None, ["--calibration", folder_with("a.png", b"hello")], "cannot be decoded"),
    "1x1 image": (None, ["--dataset", folder_with("one.png", None)], "at least two pixels"),
    "minimum above maximum": (None, ["--profile", "1x64x64,1x32x32,1x128x128"], "found height 64, 32, 128"),
    "profile of another form": (None, ["--profile", "64x64"], "minimum,optimum,maximum"),
    "unknown precision": (None, ["--precision", "int4"], "expected one of fp32, fp16, bf16, int8"),
    "unknown target": (None, ["--target", "cuda"], "expected one of onnx, tensorrt, tensorrt-rtx"),
    "unknown rewrite": (None, ["--no-rewrite", "nothing"], "expected one of"),
    "no sm": (None, ["--target", "tensorrt-rtx"], "--sm"),
    "output folder is a file": (None, ["--out", an_existing_file], "cannot be written"),
    "LR without HR": (None, ["--lr", folder_with("a.png", b"x")], "both --lr and --hr"),
    "negative budget": (None, ["--max-drift", -1], "expected dB from 0"),
    "int8 with float io": (None, ["--io", "float"], "parity tests"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_a_clear_error_and_leaves_nothing_behind(case, checkpoint, tmp_path):
    model, options, message = CASES[case]
    out = tmp_path / "out"
    given = [option(tmp_path) if callable(option) else option for option in options]
    source = model(tmp_path, checkpoint) if model else checkpoint
    if "--out" not in given:
        given += ["--out", out]
    done = export("--model", source, *given, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr.replace("\n", " "), done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists() or not list(out.iterdir())


def test_an_unwritable_output_folder_is_an_error(checkpoint, tmp_path):
    (tmp_path / "blocked").write_text("")
    done = export("--model", checkpoint, "--out", tmp_path / "blocked" / "inside")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
