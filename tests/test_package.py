"""The wheel, installed in an environment of its own, and the commands that the documents show."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from dataclasses import replace
from importlib.metadata import metadata, requires
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file

from defian_edge import __version__
from defian_edge.models.bundled import bundled_models
from defian_edge.models.checkpoint import Checkpoint, load_checkpoint, shapes_of
from defian_edge.runtime.images import read_image, write_png
from tests.conftest import REPOSITORY
from tests.doubles.wheel import build_wheel, run
from tests.export.given_graphs import gentle, written

if TYPE_CHECKING:
    from pathlib import Path

TORCH = re.search(r"^TORCH \?= (\S+)\nTORCH_INDEX \?= (\S+)", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin folder of an empty environment with the wheel and what it asks for, not editable."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build_wheel(folder)
    run(sys.executable, "-m", "venv", folder / "env", cwd=folder).check_returncode()
    assert TORCH is not None
    torch_alone = ("--no-deps", "--retries", "0", "--extra-index-url", TORCH[2], TORCH[1])  # as in the Makefile
    for requirement in (torch_alone, (f"{wheel}[export,cpu]",)):
        done = run(folder / "env/bin/python", "-m", "pip", "install", "-q", *requirement, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder / "env" / "bin"


def test_the_installed_console_scripts_run_and_find_the_bundled_weights(installed, tmp_path):
    listed = run(installed / "defian-export", "--list-models", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "site-packages/defian_edge/models/weights/defian-s-x2.safetensors" in listed.stdout
    assert run(installed / "defian", "--version", cwd=tmp_path).stdout == f"defian-edge {__version__}\n"
    rehearsed = run(installed / "defian", "selftest", "--dry-run", cwd=tmp_path)
    assert "the eigenvalue kernel" in rehearsed.stdout, rehearsed.stderr
    options = ["--model", "defian-s-x2", "--precision", "fp32", "--out", tmp_path, "--no-rewrite-memory"]
    done = run(installed / "defian-export", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    graph = tmp_path / "defian-s-x2.fp32.onnx"
    photo = next((installed.parent / "lib").glob("python3.*/site-packages/skimage/data/chelsea.png"))
    upscaled = run(installed / "defian-run", photo, "--engine", graph, "--out", tmp_path / "sr", cwd=tmp_path)
    assert upscaled.returncode == 0, upscaled.stderr
    assert (tmp_path / "sr" / "chelsea.png").stat().st_size > 10_000
    bench = [installed / "defian-bench", graph, "--shape", "16x16", "--rounds", 1, "--seconds", 0]
    timed = run(*bench, cwd=tmp_path)
    assert timed.returncode == 0, timed.stderr


def test_base_dependencies_are_only_what_the_runtime_needs():
    base = [name for name in requires("defian-edge") or [] if "extra ==" not in name]
    assert {re.split(r"[<>=]", name)[0] for name in base} == {"numpy", "pillow"}
    assert extras() >= {"export", "cpu", "gpu", "rtx", "test"}


def extras() -> set[str]:
    return set(metadata("defian-edge").get_all("Provides-Extra") or [])


def documented_commands() -> list[str]:
    documents = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    blocks = [block for path in documents for block in re.findall(r"```sh\n(.*?)```", path.read_text(), re.DOTALL)]
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return sorted({" ".join(line.split()) for line in lines if line and not line.startswith("#")})


def test_every_documented_make_target_and_extra_exists():
    makefile = (REPOSITORY / "Makefile").read_text()
    for command in documented_commands():
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE), command
        for named in re.findall(r"\[([\w,]+)\]", command):
            assert set(named.split(",")) <= extras(), command


def first_block_of(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights of the network's first module and its first residual block, which is a network of its own."""
    names = shapes_of(replace(checkpoint.architecture, blocks=1, modules=1))
    return {name: checkpoint.state[name] for name in names}


@pytest.fixture
def playground(tmp_path, set5) -> Path:
    """A folder in which the documented commands find the files they name, small ones.

    The bundled names are networks of one residual block, and Set5's pictures are cut, so that all of it takes minutes.
    What the real ones give is tested in ``tests/export/test_set5.py``.
    """
    folder = tmp_path
    rooms = ("defian_edge", "export", "runtime", "calibration", "benchmark", "selftest", "tools")
    for name in (*rooms, "docs", "README.md"):
        (folder / name).symlink_to(REPOSITORY / name)
    for name in ("export.py", "bench.py", "defian.py"):
        shutil.copy(REPOSITORY / name, folder)  # a program that is a link finds the rooms beside what it links to
    (folder / "models" / "weights").mkdir(parents=True)
    for path in (REPOSITORY / "models").glob("*.py"):
        (folder / "models" / path.name).symlink_to(path)
    for name, path in bundled_models().items():
        save_file(first_block_of(load_checkpoint(path)), folder / "models" / "weights" / f"{name}.safetensors")
    yours = load_checkpoint(set5.parent.parent / "weights" / "defian_s_x2.pth")
    torch.save(first_block_of(yours), folder / "yours.pth")
    for name, side in (("LRx2", 64), ("HR", 128)):
        cut(set5 / name, folder / "Set5" / name, side)
    cut(set5 / "HR", folder / "PHOTOS", 208)  # larger than the tiles of the commands
    cut(set5 / "LRx2", folder, 80, "bird.png", "photo.png")
    written(gentle(), folder / "net.onnx")
    return folder


def cut(source: Path, target: Path, side: int, only: str = "*.png", name: str = "") -> None:
    """Write the upper left corners of a folder's pictures into another folder."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob(only):
        write_png(target / (name or path.name), read_image(path)[:side, :side])


RUN = [
    command
    for command in documented_commands()
    if command.startswith("python ")
    and "--target tensorrt " not in f"{command} "
    and " doctor" not in command  # what it answers is the machine's: tests/runtime/test_doctor_docs.py
]
CHAINS = {"compare": "-m tools.compare", "checkpoint": "yours", "bundled": ""}
"""Commands that use each other's files, by what they contain; a command belongs to the first that fits."""


def chain_of(command: str) -> str:
    return next(name for name, part in CHAINS.items() if part in command)


def _after_exports(command: str) -> tuple[int, str]:
    """Commands that read built files come after those that build them."""
    readers = ("bench.py", "--against", "-m runtime", "-m tools.kernels", "-m tools.jetson", " verify ")
    return sum(part in command for part in readers), command


@pytest.mark.slowest
@pytest.mark.parametrize("chain", CHAINS)
def test_every_documented_command_runs(playground, chain):
    commands = sorted((command for command in RUN if chain_of(command) == chain), key=_after_exports)
    assert commands
    for command in commands:
        parts = shlex.split(command)[1:]
        expanded = [str(p) for part in parts for p in (sorted(playground.glob(part)) if "*" in part else [part])]
        done = run(sys.executable, *expanded, cwd=playground)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
