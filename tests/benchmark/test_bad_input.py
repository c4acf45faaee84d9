"""What bench.py refuses before it measures anything."""

from __future__ import annotations

import pytest

from defian_edge.runtime.images import write_png
from tests.benchmark.conftest import QUICK, bench
from tests.conftest import noise


def folder_with(name, image):
    def make(folder):
        write_png(folder / "made" / name, image)
        return folder / "made"

    return make


def an_empty_folder(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def a_json(content):
    def make(folder):
        (folder / "old.json").write_text(content)
        return folder / "old.json"

    return make


PHOTO = folder_with("photo.png", noise(16, 16, 3))
CASES = {
    "no artefact there": (["nothing.onnx"], [], "No file at nothing.onnx"),
    "no manifest": ([a_json("{}")], [], "has no manifest"),
    "another scale": (["tiny.pth", "other-scale.pth"], [], "Expected artefacts of one scale, found tiny.pth (x2) and"),
    "no images": (["tiny.fp32.onnx"], ["--dataset", an_empty_folder], "No image below"),
    "LR without HR": (["tiny.fp32.onnx"], ["--lr", folder_with("a.png", noise(8, 8, 3))], "both --lr and --hr"),
    "dataset and LR": (["tiny.fp32.onnx"], ["--dataset", "x", "--lr", "y"], "found both"),
    "JSON of another schema": (["tiny.fp32.onnx"], ["--against", a_json('{"schema": 1}')], "schema 4, found schema 1"),
    "a list for JSON": (["tiny.fp32.onnx"], ["--against", a_json("[1]")], "schema 4, found schema None"),
    "not JSON": (["tiny.fp32.onnx"], ["--against", a_json("hello")], "is not JSON"),
    "no JSON there": (["tiny.fp32.onnx"], ["--against", "none.json"], "No benchmark result at none.json"),
    "an older JSON": (["tiny.fp32.onnx"], ["--against", a_json('{"schema": 3}')], "found schema 3"),
    "a damaged JSON": (
        ["tiny.fp32.onnx"],
        ["--against", a_json('{"schema": 4}')],
        "a damaged one, without environment",
    ),
    "a shape that fills the memory": (["tiny.fp32.onnx"], ["--shape", "99999x99999"], "Not enough memory for an LR"),
    "a JSON that cannot be written": (
        ["tiny.fp32.onnx"],
        ["--json", "/proc/nothing/b.json"],
        "Choose another folder with --json",
    ),
    "a report that cannot be written": (
        ["tiny.fp32.onnx"],
        ["--report", "/proc/nothing"],
        "Choose another folder with --report",
    ),
    "LR without its HR": (["tiny.fp32.onnx"], ["--lr", PHOTO, "--hr", an_empty_folder], "No image"),
    "a folder for JSON": (["tiny.fp32.onnx"], ["--json", "."], "expected a file, found a folder"),
    "a reference of another scale": (
        ["tiny.fp32.onnx"],
        ["--dataset", PHOTO, "--reference", lambda _: "defian-s-x4"],
        "expected a reference of scale 2, found 4",
    ),
    "tiles without images": (["tiny.fp32.onnx"], ["--tile", "8x8", "--overlap", "2"], "Tile drift needs images"),
    "bad tiles": (["tiny.fp32.onnx"], ["--dataset", PHOTO, "--tile", "8"], "expected a size such as 192x192"),
    "bad overlap": (["tiny.fp32.onnx"], ["--dataset", PHOTO, "--tile", "8x8", "--overlap", "9"], "half a tile"),
    "a tile budget without tiles": (["tiny.fp32.onnx"], ["--dataset", PHOTO, "--max-tile-drift", "1"], "needs tiles"),
    "a negative budget": (["tiny.fp32.onnx"], ["--dataset", PHOTO, "--max-drift", "-1"], "expected dB from 0"),
    "unknown device": (["tiny.fp32.onnx"], ["--device", "toaster"], "No device 'toaster'"),
    "bad shape": (["tiny.fp32.onnx"], ["--shape", "640"], "expected height x width"),
    "bad batch": (["tiny.fp32.onnx"], ["--batch", "1,0"], "expected height x width"),
    "no such threads": (["tiny.fp32.onnx"], ["--threads", "-1"], "expected a whole number from 0"),
    "no round": (["tiny.fp32.onnx"], ["--rounds", "0"], "expected a whole number from 1"),
    "budget without images": (["tiny.fp32.onnx"], ["--max-drift", "0.1"], "needs images"),
    "reference without images": (["tiny.fp32.onnx"], ["--reference", "nowhere.pth"], "A reference needs images"),
    "overlap without tiles": (["tiny.fp32.onnx"], ["--overlap", "8"], "An overlap needs tiles"),
    "a provider of no graph": (["tiny.pth"], ["--provider", "cpu"], "expected a graph"),
    "GPU asked for": (["tiny.fp32.onnx"], ["--provider", "cuda"], "Expected CUDAExecutionProvider"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_a_clear_error_before_anything_is_measured(case, artefacts, tmp_path, capsys, monkeypatch):
    given, options, message = CASES[case]
    files = [
        each(tmp_path) if callable(each) else artefacts / each if "tiny" in each or "other" in each else each
        for each in given
    ]
    made = [each(tmp_path) if callable(each) else each for each in options]
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(
        "defian_edge.benchmark.run.measure_latency", lambda *_: pytest.fail("measured before it was refused")
    )
    assert bench(*files, *QUICK, "--no-memory", *made) == 2
    said = capsys.readouterr().err
    assert message in said, said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_pair_that_does_not_match_is_an_error_with_a_hint(artefacts, tmp_path, capsys):
    write_png(tmp_path / "lr" / "a.png", noise(8, 8, 3))
    write_png(tmp_path / "hr" / "a.png", noise(30, 30, 3))
    pairs = ["--lr", tmp_path / "lr", "--hr", tmp_path / "hr"]
    assert bench(artefacts / "tiny.fp32.onnx", *QUICK, "--no-memory", *pairs) == 2
    said = capsys.readouterr().err
    assert "expected 16x16 pixels for scale 2" in said
    assert "Give the LR folder of scale 2" in said
