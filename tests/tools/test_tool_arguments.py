"""A mistake on the command line of a tool ends at once with status 2 and one message, and nothing is made."""

from __future__ import annotations

import importlib
import sys

import pytest

PATH = ["", "~nobody-has-this-name", "a\0b", "n" * 5000]
COUNT = ["", "1.5", "-1", "٣", "9" * 5000]
SIZE = ["", "12", "1x²", "0x0", "5x5x5", "9" * 5000]
CHOICE = ["x", "\x1b[31mred", "9" * 5000]
MODEL = ["--model", "nowhere"]
IMAGES = {**dict.fromkeys(["--model", "--lr", "--hr", "--calibration"], PATH), "--patches": [*COUNT, "0"]}
TOOLS: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "ablation": (MODEL, IMAGES),
    "compare": (MODEL, {"--model": PATH, "--shape": SIZE, "--rounds": [*COUNT, "0"]}),
    "corrections": (MODEL, {**IMAGES, "--dataset": PATH, "--steps": [*COUNT, "0"]}),
    "demo": ([], {"--out": PATH}),
    "fuzz": (["manifest"], {"--out": PATH, "--seconds": [*COUNT, "0"]}),
    "kernels": (["nowhere.onnx"], {"": PATH, "--sm": COUNT, "--shape": ["", "1x2", "1x²x3", "9" * 5000]}),
    "matrix": ([], {"": ["x", "3", "3.²", "\x1b[31mred"]}),
    "networks": (
        [],
        {"--only": CHOICE, "--precision": CHOICE, "--lr": PATH, "--hr": PATH, "--max-drift": ["", "x", "nan"]},
    ),
    "pace": (["nowhere.onnx"], {"": PATH, "--size": SIZE, "--frames": COUNT, "--video-codec": CHOICE}),
    "scale": (["waiting", "nowhere.onnx"], {"--size": SIZE, "--photos": COUNT, "--seconds": ["inf", "nan", "-1"]}),
    "sensitivity_plot": (["nowhere.json", "x.png"], {"": PATH}),
    "tiling": (["nowhere.onnx"], {"": PATH, "--photos": PATH, "--tile": COUNT, "--overlap": COUNT}),
    "unseen": (
        [*MODEL, "--pictures", "nowhere"],
        {**dict.fromkeys(["--pictures", "--calibration"], PATH), **dict.fromkeys(["--every", "--crop"], COUNT)},
    ),
    "train.command": (
        ["--scale", "2", "--out", "out", "--pictures", "nowhere", "--steps", "1"],
        {
            **dict.fromkeys(["--out", "--pictures", "--init", "--validation", "--json"], PATH),
            **dict.fromkeys(["--scale", "--steps", "--batch", "--patch", "--seed", "--holdout"], COUNT),
            "--benchmark": ["inf", "nan", "1e400", "-1", "9" * 5000],
            "--device": CHOICE,
            "--size": ["", "16x1x²", "٣x1x1", "16x999999x1", "16x1x65", "9" * 5000],
        },
    ),
}
CASES = [
    (tool, option, value) for tool, (_, options) in TOOLS.items() for option, all_ in options.items() for value in all_
]


@pytest.mark.parametrize(("tool", "option", "value"), CASES, ids=[f"{t}{o}={v[:12]!r}" for t, o, v in CASES])
def test_what_makes_no_sense_is_refused_at_once(tool, option, value, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    given = [*TOOLS[tool][0], f"{option}={value}"] if option else [value, *TOOLS[tool][0][1:]]
    monkeypatch.setattr(sys, "argv", [tool, *given])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(f"tools.{tool}").main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.lower().count("error") == 1, said
    assert "\x1b" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--pictures", "--init", "--validation", "--hr-pictures"])
def test_a_training_makes_no_folder_before_its_inputs_are_there(option, monkeypatch, tmp_path, capsys):
    from tools.train.command import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    with pytest.raises(SystemExit) as stopped:
        main(["--scale", "2", "--out", "out", "--pictures", "photos", "--steps", "1", option, "nowhere"])
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_rows_that_no_label_has_are_refused_before_anything_is_traced(monkeypatch):
    from tools import ablation

    monkeypatch.setattr(ablation, "trace", lambda _: pytest.fail("the work began"))
    with pytest.raises(ablation.DefianError, match="no row's label contains it"):
        next(ablation.ablate(None, None, [], "nothing is called so"))  # pyright: ignore[reportArgumentType]
