"""What the trainer's tests share: three small pictures, options that train a tiny network, and a piece of training."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from defian_edge.runtime.images import read_image, write_png
from tools.train import run as run_module
from tools.train.journal import Journal
from tools.train.options import TrainOptions
from tools.train.roofline import Ceilings
from tools.train.run import train

CPU = torch.device("cpu")
OPTIONS = TrainOptions(
    scale=2,
    size="16x1x1",
    pictures=None,
    out=Path(),
    minutes=None,
    steps=20,
    batch=2,
    patch=12,
    rate=1e-3,
    warm_up=5,
    seed=0,
    lr_filter="pillow",
    holdout=None,
    precision="fp32",
    compiled=False,
    compile_seconds=60.0,
    deterministic=False,
    graph=True,
    init=None,
    resume=False,
    validation=None,
    lr_pictures=None,
    hr_pictures=None,
    validations=2,
    save_seconds=1e6,
    json=None,
    command="",
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three natural pictures of 64 x 60 pixels."""
    from defian_edge.calibration.photos import bundled_photos

    folder = tmp_path_factory.mktemp("pictures")
    photo = read_image(bundled_photos(("astronaut.png",))[0])
    for index in range(3):
        write_png(folder / f"{index}.png", photo[100 * index :, 100:][:60, :64])
    return folder


@pytest.fixture
def whole_options(pictures, tmp_path) -> TrainOptions:
    return replace(OPTIONS, pictures=pictures, out=tmp_path / "out")


@pytest.fixture
def options(whole_options, monkeypatch) -> TrainOptions:
    """Without the plot, and without measuring what the machine can do: most of the time of so small a training."""
    monkeypatch.setattr(Journal, "plot", lambda *_: 0.0)
    monkeypatch.setattr(run_module, "measure_ceilings", lambda *_, **__: Ceilings(1e12, 1e11))
    return whole_options


def run(options: TrainOptions, after: int | None = None, said: list[str] | None = None) -> dict:
    """Train, at most so many steps in this piece."""
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return after is not None and len(asked) > after

    return train(options, CPU, time.monotonic(), (said if said is not None else []).append, stop)


def state_in(folder: Path) -> dict:
    return torch.load(folder / "last.train.pt", weights_only=True)["state"]


def lines_in(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
