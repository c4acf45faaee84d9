"""The examples, and the Python blocks of the documents, run as they stand, on a network that is small."""

from __future__ import annotations

import io
import re
import runpy
import shutil
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

import defian_edge as de
from defian_edge.runtime.images import write_png
from defian_edge.runtime.manifest import read_manifest
from tests.conftest import REPOSITORY, noise, random_checkpoint, tiny

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = {path.stem for path in (REPOSITORY / "examples").glob("*.py")}
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCKS = {
    path.name: re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL) for path in DOCUMENTS
}


def run(name: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Status and output of an example, run as a program in the folder."""
    path, said = REPOSITORY / "examples" / f"{name}.py", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.chdir(folder)
        patch.setattr(sys, "argv", [str(path), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
    return int(str(ended.value.code or 0)), said.getvalue()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> tuple[Path, int, str]:
    """A folder with a checkpoint and photos, and what the first example made of them and said."""
    folder = tmp_path_factory.mktemp("documents")
    torch.save({"state_dict": random_checkpoint(tiny()).state}, folder / "yours.pth")
    (folder / "photos").mkdir()
    write_png(folder / "photos" / "photo.png", noise(48, 60, 3))
    return folder, *run("export_checkpoint", folder, "yours.pth", "exported", "photos")


@pytest.fixture(scope="module")
def folder(exported) -> Path:
    """The same with graphs under the names that the documents give them."""
    folder: Path = exported[0]
    (folder / "build").mkdir()
    for path in (folder / "exported").glob("*.onnx"):
        name = path.name.replace("yours", "defian-s-x2")
        shutil.copy(path, folder / "build" / name)
        replace(read_manifest(path), file=name).write(folder / "build")
    for path in (folder / "exported").glob("*.reference.zip"):
        shutil.copy(path, folder / "build")
    return folder


FP32, FP16 = "build/defian-s-x2.fp32.onnx", "build/defian-s-x2.fp16.onnx"


def test_export_a_checkpoint(exported):
    folder, status, said = exported
    assert status == 0
    assert "fp16: within the budget" in said
    assert {path.name for path in (folder / "exported").glob("*.onnx")} == {"yours.fp32.onnx", "yours.fp16.onnx"}
    assert re.search(r"drift [\d.]+ s", said.splitlines()[-1])


def test_drift_as_a_gate(folder):
    status, said = run("drift_gate", folder, FP16, "yours.pth", "photos")
    assert status == 0
    assert "within the budget" in said
    torch.save({"state_dict": random_checkpoint(tiny(), seed=1).state}, folder / "others.pth")
    status, said = run("drift_gate", folder, FP16, "others.pth", "photos")
    assert status == 1
    assert re.search(r"photo has [\d.]+ dB to the reference's picture of at least 45", said)


def test_upscale_a_folder(folder):
    status, said = run("upscale_folder", folder, FP32, "photos", "sr")
    assert status == 0
    assert "photo.png: 120x96" in said
    assert (folder / "sr" / "photo.png").is_file()


def test_frames_of_a_generator(folder):
    status, said = run("camera_frames", folder, FP32)
    assert status == 0
    assert "frame 8: 128x96" in said


def test_compare_two_engines(folder):
    status, said = run("compare_engines", folder, FP32, FP16, "photos/photo.png")
    assert status == 0
    assert said.count("ONNX Runtime CPUExecutionProvider") == 2
    assert re.search(r"equal in \d+\.\d % of their values", said)


def test_every_example_has_a_test():
    tested = set(re.findall(r'run\("(\w+)"', (REPOSITORY / "tests" / "test_documents.py").read_text("utf-8")))
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
