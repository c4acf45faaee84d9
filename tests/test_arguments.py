"""Every mistake on every command line ends at once with status 2 and one message."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from defian_edge.benchmark import command as bench_command
from defian_edge.export import command as export_command
from defian_edge.runtime import command as run_command
from defian_edge.runtime.doctor import command as doctor_command
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.verify import command as verify_command
from defian_edge.selftest import command as selftest_command
from tests.conftest import REPOSITORY

PATH = ["", "  ", "~nobody-has-this-name", "~nobody-has-this-name/x", "a\0b", "n" * 5000]
NUMBER = ["", "inf", "-inf", "nan", "1e400", "9" * 5000, "1e9999999", "x", "1,5", "-1", "1_0", "²", "0x10", "1e7"]
COUNT = ["", "inf", "nan", "1.5", "1e3", "9" * 5000, "-1", "x", "2²", "1_0", "٣", "99999999"]
SIZE = ["", "x", "12", "12x", "1x²", "0x0", "99999999x1", "-5x5", "5x5x5", "inf", "9" * 5000, "٣x٣"]
PROFILE = ["", "1x²x3", "1x2", "1x1x1", "0x5x5", "1x64x64,1x32x32,1x16x16", "1x99999999x1", ",", "inf", "9" * 5000]
CHOICE = ["", "x", "CPU ", "\x1b[31mred", "9" * 5000]

RUN = ["{photo}", "--engine", "{photo}", "--out", "{out}"]
BENCH = ["defian-s-x2"]
EXPORT = ["--model", "defian-s-x2", "--out", "{out}"]
COMMANDS: dict[str, tuple[Any, str, list[str], dict[str, list[str]]]] = {
    "run": (
        run_command,
        "_here",
        RUN,
        {
            **dict.fromkeys(["--engine", "--out", "--compare"], PATH),
            "--overlap": COUNT,
            "--crf": [*NUMBER, "52"],
            **dict.fromkeys(["--provider", "--check", "--video-codec", "--preset"], CHOICE),
        },
    ),
    "verify": (
        verify_command,
        "verify",
        ["{photo}"],
        {
            **dict.fromkeys(["--reference", "--json", "--out"], PATH),
            **dict.fromkeys(["--max-drift", "--min-psnr-to-reference", "--max-below-promise"], NUMBER),
            "--provider": CHOICE,
        },
    ),
    "bench": (
        bench_command,
        "run_benchmark",
        BENCH,
        {
            **dict.fromkeys(["--dataset", "--lr", "--hr", "--reference", "--json", "--report", "--against"], PATH),
            **dict.fromkeys(
                ["--seconds", "--warm-up", "--max-drift", "--max-mean-drift", "--min-psnr-to-reference"], NUMBER
            ),
            **dict.fromkeys(["--rounds", "--threads", "--overlap"], COUNT),
            "--shape": SIZE,
            "--tile": SIZE,
            "--device": CHOICE,
            "--batch": ["", "x", "0", "1,", ",1", "1²", "inf", "-1", "9" * 5000],
            "--provider": CHOICE,
        },
    ),
    "export": (
        export_command,
        "run_and_show",
        EXPORT,
        {
            **dict.fromkeys(["--out", "--calibration", "--dataset", "--lr", "--hr"], PATH),
            **dict.fromkeys(["--max-drift", "--reference-size"], NUMBER),
            "--graph-for": CHOICE,
            "--patches": [*COUNT, "0"],
            "--workspace": [*COUNT, "0"],
            "--optimisation-level": [*COUNT, "6"],
            "--profile": PROFILE,
            **dict.fromkeys(["--precision", "--target", "--io", "--ranges", "--int8-scope", "--eigen"], CHOICE),
            "--int8-without": CHOICE,
            "--device": CHOICE,
            "--sm": ["", "-1", "x", "8.9", "9" * 5000, "²"],
        },
    ),
    "doctor": (
        doctor_command,
        "doctor",
        ["{photo}", "--no-smoke"],
        {"--json": PATH, "--device": CHOICE},
    ),
    "selftest": (
        selftest_command,
        "run_stages",
        ["--dry-run"],
        {
            **dict.fromkeys(["--out", "--add-to", "--set5", "--train-pictures", "--graphs"], PATH),
            "--budget": [*NUMBER, "0"],
            "--stage": CHOICE,
            "--skip": CHOICE,
        },
    ),
}
CASES = [
    (command, option, value)
    for command, (_, _, _, options) in COMMANDS.items()
    for option, values in options.items()
    for value in values
    if (option, value) not in {("--batch", "1e7"), ("--budget", "1e7")} or command == "selftest"
]


@pytest.fixture
def places(tmp_path) -> dict[str, str]:
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "photo.png")
    return {"photo": str(tmp_path / "photo.png"), "out": str(tmp_path / "sr")}


def status(command: str, given: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    module, work, _, _ = COMMANDS[command]

    def started(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr(module, work, started)
    monkeypatch.setattr(sys, "argv", [command, *given])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.parametrize(("command", "option", "value"), CASES, ids=[f"{c}{o}={v[:12]!r}" for c, o, v in CASES])
def test_every_value_that_makes_no_sense_is_refused_before_the_work(
    command, option, value, places, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    given = [word.format(**places) for word in COMMANDS[command][2]]
    given = [*given, f"{option}={value}"]
    if option in {"--overlap", "--tile"} and command == "bench":
        given += [] if option == "--tile" else ["--tile", "64x64"]
    if option == "--sm":
        given += ["--target", "tensorrt-rtx"]
    assert status(command, given, monkeypatch) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert len(re.findall(r"error|Error", said)) == 1, said
    assert len(said) < 4000
    assert "\x1b" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == before, "nothing was made"


@pytest.mark.parametrize("engine", [".", "..", "/", "{photo}", "nowhere.onnx", "nowhere.engine", "nowhere"])
def test_an_engine_that_is_none_is_refused(places, capsys, engine, tmp_path):
    engine = engine.format(**places)
    with pytest.raises(SystemExit) as stopped:
        run_command.main([places["photo"], "--engine", engine, "--out", str(tmp_path / "sr")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_originals_that_are_not_there_are_missed_before_the_work(places, capsys, monkeypatch):
    given = [word.format(**places) for word in RUN] + ["--compare", "nowhere"]
    assert status("run", given, monkeypatch) == 2
    assert "found no nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("tile", SIZE)
def test_tiles_that_are_none_are_refused(places, capsys, tile):
    with pytest.raises(SystemExit) as stopped:
        run_command.main([word.format(**places) for word in RUN] + [f"--tile={tile}"])
    assert stopped.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_engine_that_cannot_be_built_here_is_told_before_anything_is_traced(monkeypatch, tmp_path):
    from defian_edge.export import pipeline
    from defian_edge.export.engine.compiler import Target
    from defian_edge.export.options import ExportOptions
    from defian_edge.runtime.engine import trt_import

    monkeypatch.setattr(pipeline, "rewritten_graphs", lambda *_: pytest.fail("the work began"))
    monkeypatch.setitem(trt_import.FLAVOURS, "tensorrt-rtx", ("no_such_tensorrt", "rtx"))
    options = ExportOptions(tmp_path, target=Target.TENSORRT_RTX, sm=89)
    with pytest.raises(DefianError, match="no_such_tensorrt"):
        pipeline.run_export("defian-s-x2", options)


STARTS = {
    "run": [sys.executable, "-m", "runtime", "photo.png", "--engine", "x.onnx", "--out", "sr"],
    "bench": [sys.executable, "bench.py", "defian-s-x2", "--seconds", "60", "--no-memory", "--no-energy"],
    "export": [sys.executable, "export.py", "--model", "defian-s-x2", "--out", "build/never-written"],
    "selftest": [sys.executable, "-m", "selftest", "--dry-run"],
    "defian": [sys.executable, "defian.py", "bench", "defian-s-x2", "--seconds", "60", "--no-memory"],
}


@pytest.mark.parametrize("command", STARTS)
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("after", [0.3, 2.0])
def test_a_signal_ends_a_command_properly_at_any_moment(command, number, expected, after):
    """While packages are loaded, too. Before Python has begun at all, the system's own end is as good."""
    with subprocess.Popen(
        STARTS[command], cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as child:
        time.sleep(after)
        child.send_signal(number)
        _, said = child.communicate(timeout=120)
    ended_itself = {"run": 2, "selftest": 0}.get(command)
    assert child.returncode in {expected, -number, ended_itself}, said
    if child.returncode == -number:
        assert "Traceback" not in said or after < 0.5, said
    else:
        assert "Traceback" not in said, said


def test_nobody_who_reads_ends_a_command_quietly():
    line = f"{sys.executable} defian.py export --list-models | true; echo ${{PIPESTATUS[0]}}"
    bash = shutil.which("bash") or pytest.skip("no bash")
    done = subprocess.run([bash, "-c", line], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stdout.strip() in {"0", "141"}
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.fixture(autouse=True)
def _narrow(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


LOADED_FIRST = {"run": "numpy", "verify": "numpy", "export": "typer", "bench": "numpy"}
"""A package that each command loads before it can do anything."""
ENTRIES = {
    "run": ["-m", "runtime", "photo.png", "--engine", "x.onnx", "--out", "sr"],
    "verify": ["-m", "runtime", "verify", "x.onnx"],
    "bench": ["bench.py", "defian-s-x2"],
    "export": ["export.py", "--model", "defian-s-x2", "--out", "build/never-written"],
}


@pytest.mark.parametrize("through_defian", [False, True])
@pytest.mark.parametrize("command", ENTRIES)
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("becomes", ["itself", "ImportError", "nothing"])
def test_a_signal_while_packages_are_loaded_is_a_signal(tmp_path, command, number, expected, becomes, through_defian):
    """Some packages' compiled parts make an ImportError of it, which would be taken for a package that is missing.

    Python itself drops it where it comes while an import calls back.
    """
    fake = ["import time", "try:", "    print('loading', flush=True)", "    time.sleep(60)"]
    then = {"itself": "raise", "ImportError": "raise ImportError from error", "nothing": "pass"}[becomes]
    fake += ["except KeyboardInterrupt as error:", f"    {then}"]
    name = LOADED_FIRST[command]
    fake += ["import sys", f"sys.path.remove({str(tmp_path)!r})", f"del sys.modules[{name!r}]", f"import {name}"]
    (tmp_path / f"{name}.py").write_text("\n".join(fake))
    words = ENTRIES[command]
    if through_defian:
        rest = words[3:] if words[:2] == ["-m", "runtime"] and command == "verify" else words[1:]
        rest = rest[1:] if command == "run" else rest
        words = ["defian.py", command, *rest]
    with subprocess.Popen(
        [sys.executable, *words],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "loading\n"
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
    assert child.returncode == expected, said
    assert "Traceback" not in said
    assert "not installed" not in said


HELPS = ["defian.py", "export.py", "bench.py", "-m runtime", "-m runtime verify", "-m runtime doctor", "-m selftest"]


@pytest.mark.parametrize("command", [*HELPS, "-m tools.train", "-m defian_edge.export.plugin"])
@pytest.mark.parametrize("columns", ["80", "40"])
def test_help_cuts_no_name(command, columns):
    line = [sys.executable, *command.split(), "--help"]
    environment = os.environ | {"COLUMNS": columns, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=True, env=environment)
    assert "…" not in done.stdout
    assert "--" in done.stdout
