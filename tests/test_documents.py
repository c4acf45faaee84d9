"""The examples, and the Python blocks of the documents, run as they stand, on a network that is small."""

from __future__ import annotations

import re
import runpy
import sys
from typing import TYPE_CHECKING

import pytest
import torch

import defian_edge as de
from defian_edge.runtime.images import write_png
from tests.conftest import REPOSITORY, noise, random_checkpoint, tiny

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = {path.stem for path in (REPOSITORY / "examples").glob("*.py")}
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCKS = {
    path.name: re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL) for path in DOCUMENTS
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the documents name: a checkpoint, photos, and graphs in ``build/``."""
    folder = tmp_path_factory.mktemp("documents")
    torch.save({"state_dict": random_checkpoint(tiny()).state}, folder / "yours.pth")
    (folder / "photos").mkdir()
    write_png(folder / "photos" / "photo.png", noise(48, 60, 3))
    options = de.ExportOptions(
        folder / "build",
        precisions=(de.Precision.FP32, de.Precision.FP16),
        dataset=folder / "photos",
        profile=de.ShapeProfile.parse("1x8x8,1x32x32,1x64x64"),
        name="defian-s-x2",
        rewrite_memory=False,
    )
    assert de.export(folder / "yours.pth", options=options).passed
    return folder


@pytest.fixture
def example(folder, monkeypatch, capsys):
    """``example(name, *arguments)``: status and output of a script, run in the folder."""
    monkeypatch.chdir(folder)

    def run(name: str, *arguments: str) -> tuple[int, str]:
        path = REPOSITORY / "examples" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        return int(str(ended.value.code or 0)), capsys.readouterr().out

    return run


FP32, FP16 = "build/defian-s-x2.fp32.onnx", "build/defian-s-x2.fp16.onnx"


def test_export_a_checkpoint(example, folder):
    status, said = example("export_checkpoint", "yours.pth", "exported", "photos")
    assert status == 0
    assert "fp16: within the budget" in said
    assert {path.name for path in (folder / "exported").glob("*.onnx")} == {"yours.fp32.onnx", "yours.fp16.onnx"}
    assert "drift" in said.splitlines()[-1]


def test_drift_as_a_gate(example, folder):
    status, said = example("drift_gate", FP16, "yours.pth", "photos")
    assert status == 0
    assert "within the budget" in said
    torch.save({"state_dict": random_checkpoint(tiny(), seed=1).state}, folder / "others.pth")
    status, said = example("drift_gate", FP16, "others.pth", "photos")
    assert status == 1
    assert re.search(r"photo has [\d.]+ dB to PyTorch's picture of at least 45", said)


def test_upscale_a_folder(example, folder):
    status, said = example("upscale_folder", FP32, "photos", "sr")
    assert status == 0
    assert "photo.png: 120x96" in said
    assert (folder / "sr" / "photo.png").is_file()


def test_frames_of_a_generator(example):
    status, said = example("camera_frames", FP32)
    assert status == 0
    assert "frame 8: 128x96" in said


def test_compare_two_engines(example):
    status, said = example("compare_engines", FP32, FP16, "photos/photo.png")
    assert status == 0
    assert said.count("ONNX Runtime CPUExecutionProvider") == 2
    assert re.search(r"equal in \d+\.\d % of their values", said)


def test_every_example_has_a_test():
    tested = set(re.findall(r'example\("(\w+)"', (REPOSITORY / "tests" / "test_documents.py").read_text("utf-8")))
    assert tested == EXAMPLES
    page = (REPOSITORY / "docs" / "api.md").read_text("utf-8")
    assert all(f"(../examples/{name}.py)" in page for name in EXAMPLES)


@pytest.mark.parametrize("document", [name for name, blocks in BLOCKS.items() if blocks])
def test_the_python_blocks_of_a_document_run_one_after_the_other(document, folder, monkeypatch):
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    for block in BLOCKS[document]:
        exec(compile(block, document, "exec"), names)  # noqa: S102 - that is the test


def test_the_documents_of_the_interface_have_blocks():
    assert {name for name, blocks in BLOCKS.items() if blocks} >= {"api.md", "runtime.md", "verify.md"}


def test_the_page_names_everything_that_is_public():
    page = (REPOSITORY / "docs" / "api.md").read_text("utf-8")
    assert [name for name in de.__all__ if not re.search(rf"\b{name}\b", page)] == []
