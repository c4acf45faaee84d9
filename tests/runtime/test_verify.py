"""``python -m runtime verify`` on graphs: exported, held against their own pack, alone and with planted faults."""

from __future__ import annotations

import json
import math
import re
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.runtime.command import main
from defian_edge.runtime.images import write_png
from defian_edge.runtime.manifest import manifest_path
from defian_edge.runtime.onnx_session import OnnxSession
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.verify.budget import Budget, below
from defian_edge.runtime.verify.diagnosis import diagnosis
from defian_edge.runtime.verify.figures import Figures, figures_of
from defian_edge.runtime.verify.strip import strip_of
from tests.conftest import REPOSITORY, noise, random_checkpoint, tiny
from tests.doubles.deployment import deploy, run_alone

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Graphs of a tiny checkpoint in FP32 and FP16 with their pack."""
    folder = tmp_path_factory.mktemp("exported")
    torch.save({"state_dict": random_checkpoint(tiny()).state}, folder / "tiny.pth")
    run_export(
        folder / "tiny.pth",
        ExportOptions(
            out=folder,
            precisions=(Precision.FP32, Precision.FP16),
            profile=ShapeProfile.parse("1x8x8,1x32x32,2x64x64"),
            rewrite_memory=False,
        ),
    )
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(each) for each in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.parametrize("columns", [40, 80])
def test_a_narrow_terminal_gets_every_figure_of_the_table(exported, capsys, monkeypatch, columns):
    graph = exported / "tiny.fp32.onnx"
    monkeypatch.setenv("COLUMNS", "1000")
    assert run("verify", graph) == 0
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run("verify", graph) == 0
    narrow = capsys.readouterr().out
    rows = [line.split() for line in wide.splitlines() if line.endswith(("right", "WRONG"))]
    assert len(rows) > 3
    assert all(cell in narrow.split() for row in rows for cell in row)
    fields = [line for line in narrow.splitlines() if line.startswith(("  PSNR", "  drift", "  verdict", "  step"))]
    assert len(fields) == 5 * len(rows)
    assert max(map(len, fields)) <= columns


def test_graphs_keep_what_their_export_promised(exported, capsys, tmp_path):
    graphs = sorted(exported.glob("*.onnx"))
    assert run("verify", *graphs, "--json", tmp_path / "said.json", "--max-drift", 0.05) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 right, 0 wrong, 0 not run" in printed
    said = json.loads((tmp_path / "said.json").read_text())
    assert [each["precision"] for each in said["artefacts"]] == ["fp16", "fp32"]
    ways = {each["way"] for each in said["artefacts"][1]["results"]}
    assert {"call 1", "call 3", "image 2 of a batch of 2", "frame 3", "tiles"} <= ways
    for each in said["artefacts"][1]["results"]:
        assert each["below_promise_db"] < 1.0
        assert each["found"]["equal_share"] > 0.999


def test_a_graph_that_gives_another_picture_ends_with_1_and_shows_it(exported, capsys, tmp_path, monkeypatch):
    call = OnnxSession.__call__
    monkeypatch.setattr(OnnxSession, "__call__", lambda self, images: np.roll(call(self, images), 1, axis=1))
    assert run("verify", exported / "tiny.fp32.onnx", "--out", tmp_path / "wrong") == 1
    assert "looks like shifted by 0 pixels to the right and 1 down" in capsys.readouterr().out
    assert (tmp_path / "wrong" / "tiny.fp32.onnx.astronaut.call-1.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx"], "No file at none.onnx"),
        (["--reference", "none.zip"], "No reference pack can be read at none.zip"),
        (["--max-below-promise", "-1"], "--max-below-promise '-1': expected dB from 0"),
        (["--provider", "cuda"], "CUDA"),
        (["--json", "."], "expected a file, found a folder"),
    ],
)
def test_what_cannot_be_verified_ends_with_2_and_a_reason(exported, capsys, arguments, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    graph = [] if arguments[0].endswith(".onnx") else [exported / "tiny.fp32.onnx"]
    assert run("verify", *graph, *arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err + captured.out
    assert not list(tmp_path.iterdir())


def test_a_pack_that_was_not_copied_along_is_missed_by_name(exported, tmp_path, capsys):
    for path in (exported / "tiny.fp32.onnx", manifest_path(exported / "tiny.fp32.onnx")):
        shutil.copy(path, tmp_path)
    assert run("verify", tmp_path / "tiny.fp32.onnx") == 2
    assert f"{next(exported.glob('*.reference.zip')).name} (No such file" in capsys.readouterr().err


def test_a_folder_that_is_called_verify_can_still_be_upscaled(exported, tmp_path, monkeypatch):
    (tmp_path / "verify").mkdir()
    write_png(tmp_path / "verify" / "a.png", noise(8, 10, 3))
    monkeypatch.chdir(tmp_path)
    assert run("verify", "--engine", exported / "tiny.fp32.onnx", "--out", "sr") == 0
    assert (tmp_path / "sr" / "a.png").is_file()


def test_the_folder_alone_verifies_a_graph_with_numpy_and_pillow(exported, tmp_path):
    """And ONNX Runtime with what that needs; neither torch nor onnx nor scikit-image can be imported there."""
    deploy(tmp_path)
    for path in (*exported.glob("tiny.fp16.onnx*"), *exported.glob("*.zip")):
        shutil.copy(path, tmp_path)
    allowed = {"numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging"}
    done = run_alone(tmp_path, allowed, ["verify", "tiny.fp16.onnx"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 right, 0 wrong, 0 not run" in done.stdout


def test_the_documents_lines_of_python_run(exported, capsys):
    page = (REPOSITORY / "docs" / "verify.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block.replace("build/defian-s-x2.fp16.onnx", str(exported / "tiny.fp16.onnx")), {})  # noqa: S102
    assert "True tiny x2 fp16, ONNX Runtime CPUExecutionProvider" in capsys.readouterr().out


def test_figures_survive_json():
    picture, other = noise(40, 50, 3), noise(40, 50, 3, seed=1)
    for found in (figures_of(picture, other, picture, 2), figures_of(picture, picture, None, 2)):
        again = Figures.from_json(json.loads(json.dumps(found.as_json())))
        assert str(again) == str(found)
    with pytest.raises(TypeError):
        Figures.from_json(found.as_json() | {"largest_step": 1.5})


def test_one_bad_block_shows_in_the_block_and_not_in_the_whole():
    reference = noise(256, 256, 3)
    result = reference.copy()
    result[40:48, 70:78] ^= 8
    found = figures_of(result, reference, None, 2)
    assert found.psnr_to_reference > 58.0
    assert found.worst_block == pytest.approx(10 * math.log10(255**2 / (64 * 64 / 32**2)))
    promised = figures_of(reference, reference, None, 2)
    assert "in one block" in Budget().exceeded(found, promised, hard=False)[0]


def test_what_is_below_the_promise_counts_up_to_what_rounding_costs_by_itself():
    assert below(70.0, math.inf) == 0.0
    assert below(50.9, 55.9) == pytest.approx(5.0)
    assert below(57.0, 96.0) == pytest.approx(1.92, abs=0.01)


def smooth() -> np.ndarray:
    """A picture with structure at every scale but none that repeats."""
    rows, columns = np.indices((96, 128))
    waves = [np.sin(rows / (3 + each) + each) + np.cos(columns / (5 + 2 * each)) for each in range(3)]
    return np.rint(np.stack(waves, axis=-1) * 50 + 120).astype(np.uint8)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda image: np.roll(image, (-1, 2), (0, 1)), "shifted by 2 pixels to the right and -1 down"),
        (lambda image: image[..., [2, 0, 1]], "channels swapped"),
        (lambda image: np.rint(image * [1.0, 1.0, 0.97]).astype(np.uint8), "blue scaled by 0.97"),
        (lambda image: image + np.uint8(3), "brighter by 3 grey levels all over"),
        (lambda image: np.where(np.arange(128)[:, None] < 24, image[::-1], image), "wrong in one place: 24x96 pixels"),
        (lambda image: image + noise(96, 128, 3) // 50, "noise of"),
    ],
)
def test_a_fault_is_called_by_its_name(fault, words):
    reference = smooth()
    assert words in diagnosis(fault(reference), reference, reference[::2, ::2])


def test_a_strip_shows_the_worst_place_of_a_large_picture():
    reference = np.full((700, 900, 3), 100, np.uint8)
    result = reference.copy()
    result[650:660, 880:890] += 10
    strip = strip_of(result, reference)
    assert strip.shape == (512, 3 * 512 + 2 * 8, 3)
    difference = strip[:, -512:]
    assert (difference == 128).mean() > 0.99
    assert difference.max() > 240
