"""The trainer on this card: images per second, and the share of the roofline."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.selftest.gpu import open_gpu
from defian_edge.selftest.protocol import CannotRun
from defian_edge.selftest.runner import ROOT

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings

MOST_MINUTES = 5.0
ENDING = 20.0
"""Seconds for the trainer's start and end."""


def run(settings: Settings, record: Record) -> None:
    """``tools.train`` for as long as there is, five minutes at most."""
    if importlib.util.find_spec("tools.train") is None:
        raise CannotRun("tools.train is not here: run it in a checkout of the repository.")
    if not settings.train_pictures:
        raise CannotRun("Name a folder of photos with --train-pictures.")
    with open_gpu():
        pass
    minutes = min(MOST_MINUTES, (settings.seconds - ENDING) / 60)
    out = Path(settings.folder) / "training"
    command = [sys.executable, "-m", "tools.train", "--scale", "2", "--pictures", settings.train_pictures]
    command += ["--minutes", f"{minutes:.2f}", "--out", str(out)]
    if settings.set5:
        root = Path(settings.set5)
        command += ["--lr-pictures", str(root / "LRx2"), "--hr-pictures", str(root / "HR")]
    done = subprocess.run(command, check=False, cwd=ROOT)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8")) if done.returncode == 0 else {}
    record.figure("training", summary)
    record.check("exit status of the trainer", done.returncode, at_most=0)
    record.check("images per second", summary.get("images_per_second") or float("nan"), at_least=1.0)
