"""Names and terminals as people have them: what cannot be shown is escaped, nothing in a name is an order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from defian_edge.runtime.entry import printable
from tests.conftest import REPOSITORY, random_checkpoint, tiny
from tests.doubles.graph_file import write_file


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [red]x[/red]\nnext", "plain [red]x[/red]\nnext"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\rb\tc\x00", "a\\rb\\tc\\x00"),
        ("caf\udce9", "caf\\udce9"),
        ("\u202eback", "\\u202eback"),
        ("Zürich 日本", "Zürich 日本"),
    ],
)
def test_control_characters_are_escaped_and_letters_are_not(text, shown):
    assert printable(text) == shown


@pytest.fixture
def engine(traced, tmp_path) -> Path:
    content = ir.to_proto(traced(random_checkpoint(tiny()))).SerializeToString()
    folder = tmp_path / "build[v2]"
    folder.mkdir()
    return write_file(folder / "tiny.fp32.onnx", content, model="tiny\x1b[31m[bold]")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", ["日本 café.png", "a\x1b[31mb.png", "caf\udce9.png"])
def test_any_name_is_done_on_any_terminal(engine, tmp_path, encoding, name):
    photo = tmp_path / name
    try:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "plain.png")
        (tmp_path / "plain.png").rename(photo)
    except OSError:
        pytest.skip("this file system does not take the name")
    command = [sys.executable, "-m", "runtime", photo, "--engine", engine, "--out", tmp_path / "sr"]
    done = subprocess.run(
        [os.fsencode(part) for part in command],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sr" / name).is_file()
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"[bold]" in done.stdout


def test_lines_go_out_as_they_come_and_nobody_who_reads_ends_the_command_quietly(engine, tmp_path):
    for index in range(30):
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / f"{index}.png")
    command = [sys.executable, "-m", "runtime", tmp_path, "--engine", engine, "--out", tmp_path / "sr"]
    with subprocess.Popen(
        [str(part) for part in command], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert b"tiny" in child.stdout.readline()
        assert b"->" in child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()
        assert child.wait(timeout=120) in {0, 141}
    assert b"Traceback" not in said
    assert b"Exception ignored" not in said


LISTS = [sys.executable, "export.py", "--list-models"]
DOCTOR = [sys.executable, "-m", "runtime", "doctor", "--no-smoke"]


@pytest.mark.parametrize("command", [LISTS, DOCTOR], ids=["export", "doctor"])
def test_output_onto_a_full_disk_is_the_disks_fault(command):
    device = Path("/dev/full")
    if not device.exists():
        pytest.skip(f"no {device}")
    with device.open("w") as full:
        done = subprocess.run(command, cwd=REPOSITORY, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: Cannot write the output: No space left on device.\n  Free some space.\n"


@pytest.mark.parametrize("command", [LISTS, DOCTOR], ids=["export", "doctor"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_is_none_that_is_needed(command, closed):
    line = " ".join(command)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line} {closed}"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode in ({0} if command is LISTS else {0, 1})
    assert "Traceback" not in done.stderr


def test_nobody_who_reads_help_is_no_result_over_budget():
    out, into = os.pipe()
    os.close(out)
    done = subprocess.run(
        [sys.executable, "export.py", "--help"],
        cwd=REPOSITORY,
        stdout=into,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(into)
    assert (done.returncode, done.stderr) == (141, "")
