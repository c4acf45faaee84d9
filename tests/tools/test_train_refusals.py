"""What the trainer refuses, and what its command line and its document say."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from defian_edge.models.defian import DeFiAN
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import read_image, write_png
from tests.conftest import REPOSITORY, tiny
from tests.tools.conftest import run
from tools.train import command as command_module
from tools.train import saved as saved_module
from tools.train.command import main


def test_resuming_what_is_finished_or_out_of_time_is_refused(options):
    run(replace(options, steps=3))
    with pytest.raises(DefianError, match=r"has made 3 steps in .* and is finished"):
        run(replace(options, steps=3, resume=True))
    brief = replace(options, steps=100_000, out=options.out.parent / "brief")
    run(brief, after=3)
    with pytest.raises(DefianError, match="leaves none of its --minutes"):
        run(replace(brief, steps=None, minutes=0.03, resume=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 3}, "--batch 2, now it is 3"),
        ({"seed": 5}, "--seed 0, now it is 5"),
        ({"lr_filter": "matlab"}, "--lr-filter pillow, now it is matlab"),
        ({"scale": 3, "patch": 12}, "--scale 2, now it is 3"),
    ],
)
def test_resuming_with_other_options_is_refused_by_the_first_that_differs(options, change, message):
    run(options, after=1)
    with pytest.raises(DefianError, match=message):
        run(replace(options, resume=True, **change))


def test_resuming_with_other_pictures_is_refused(options, tmp_path):
    run(options, after=1)
    write_png(tmp_path / "others" / "one.png", read_image(options.pictures / "1.png")[::-1])
    with pytest.raises(DefianError, match="other pictures"):
        run(replace(options, resume=True, pictures=tmp_path / "others"))


def test_resuming_nothing_or_beginning_over_something_is_refused(options):
    with pytest.raises(DefianError, match="no training to resume"):
        run(replace(options, resume=True))
    run(options, after=1)
    with pytest.raises(DefianError, match=r"is a training in .* already"):
        run(options)


def test_a_broken_training_file_is_refused(options):
    run(options, after=1)
    whole = (options.out / "last.train.pt").read_bytes()
    (options.out / "last.train.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DefianError, match="cannot be read"):
        run(replace(options, resume=True))


def test_a_full_disk_is_one_message_and_the_last_checkpoint_stays(options, monkeypatch):
    run(options, after=2)
    before = (options.out / "last.train.pt").read_bytes()
    write = saved_module.write_whole

    def full(path, data):
        if path.name == "last.train.pt":
            raise DefianError(f"Cannot write {path}: No space left on device.", "Free some space.")
        write(path, data)

    monkeypatch.setattr(saved_module, "write_whole", full)
    with pytest.raises(DefianError, match="No space left"):
        run(replace(options, resume=True))
    assert (options.out / "last.train.pt").read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(options, tmp_path):
    torch.save(DeFiAN(tiny(2)).state_dict(), tmp_path / "other.pth")
    with pytest.raises(DefianError, match="expected weights of DeFiAN-custom x2"):
        run(replace(options, init=tmp_path / "other.pth"))
    assert not (options.out / "last.train.pt").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--scale 5 --steps 1", "--scale 5: expected 2, 3 or 4"),
        ("--scale 2", "one of --minutes and --steps"),
        ("--scale 2 --steps 1 --minutes 1", "one of --minutes and --steps"),
        ("--scale 2 --minutes nan", "--minutes nan: expected a positive number"),
        ("--scale 2 --steps 1 --size M", "--size 'M': expected S, L or"),
        ("--scale 2 --steps 1 --size 20x1x1", "in sixteens"),
        ("--scale 2 --steps 1 --precision fp16", "--precision 'fp16': expected one of bf16, fp32"),
        ("--scale 2 --steps 1 --lr-filter box", "--lr-filter 'box': expected one of pillow, matlab"),
        ("--scale 2 --steps 1 --device tpu", "--device 'tpu': expected auto, cpu or cuda"),
        ("--scale 2 --steps 1 --init none.pth", "No checkpoint at none.pth"),
        ("--scale 2 --steps 1 --pictures nowhere", "No folder at nowhere"),
        ("--scale 2 --steps 1", "Expected --pictures"),
        ("--scale 2 --steps 1 --resume --init x.pth", "--resume goes on with its own weights"),
    ],
)
def test_a_mistake_is_one_message_and_exit_status_2(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*words.split(), "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help_is_quick_and_names_every_option():
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tools.train", "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "--lr-filter" in done.stdout
    loaded = "import sys, tools.train.command; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", loaded], cwd=REPOSITORY, check=True)
    assert time.monotonic() - begun < 10


def test_the_document_names_only_options_that_there_are():
    named = set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", (REPOSITORY / "docs" / "training.md").read_text()))
    assert len(named) > 10
    known = set(inspect.signature(command_module.train).parameters) | {"compile", "no-compile", "no-graph", "help"}
    assert {name for name in named if name.replace("-", "_") not in known and name not in known} == set()
