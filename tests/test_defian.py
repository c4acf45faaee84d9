"""The umbrella command hands over, and is quick to say what there is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "defian.py", *arguments], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["export", "--list-models"], "defian-s-x2.safetensors"),
        (["run", "--help"], "--no-cuda-graphs"),
        (["verify", "--help"], "--max-below-promise"),
        (["doctor", "--help"], "--no-smoke"),
        (["bench", "--help"], "--max-mean-drift"),
        (["selftest", "--dry-run"], "the eigenvalue kernel"),
    ],
)
def test_each_command_is_the_one_it_names(command, words):
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands_without_importing_one(arguments):
    done = run(*arguments)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in ("export", "run", "verify", "doctor", "bench", "selftest"))
    asked = "import sys, defian_edge.__main__; print({'torch', 'onnx', 'numpy', 'typer'} & set(sys.modules))"
    imported = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert imported.stdout == "set()\n"


def test_an_unknown_command_ends_with_status_2_and_one_line():
    done = run("upscale")
    assert done.returncode == 2
    assert done.stderr == "error: no command 'upscale': expected one of export, run, verify, doctor, bench, selftest.\n"


def test_the_status_of_a_command_is_passed_on():
    assert run("selftest", "--stage", "none").returncode == 2
    assert run("--version").stdout.startswith("defian-edge ")


WITHOUT_TYPER = "import runpy, sys; sys.modules['typer'] = None; sys.argv = {argv!r}\n{work}"
"""A base installation: ``import typer`` raises an ImportError."""


@pytest.mark.parametrize("module", ["defian_edge.export.command", "tools.train.command"])
def test_a_command_that_lacks_a_package_can_be_imported_without_an_end_of_the_process(module):
    work = (
        "from defian_edge import DefianError\nfrom importlib import import_module\n"
        f"try: import_module({module!r})\nexcept DefianError as error: print('told:', error)\n"
    )
    code = WITHOUT_TYPER.format(argv=[], work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "told: " in done.stdout
    assert "needs the package 'typer'" in done.stdout


@pytest.mark.parametrize(
    ("argv", "work"),
    [
        (["export.py"], "runpy.run_path('export.py', run_name='__main__')"),
        (["defian", "export"], "sys.path.insert(0, ''); runpy.run_module('defian_edge', run_name='__main__')"),
        (["train"], "sys.path.insert(0, ''); runpy.run_module('tools.train', run_name='__main__')"),
    ],
)
def test_a_command_that_lacks_a_package_says_so_in_one_message(argv, work):
    code = WITHOUT_TYPER.format(argv=argv, work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "pip install 'defian-edge[export]'" in done.stderr
    assert "Traceback" not in done.stderr
