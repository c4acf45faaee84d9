"""What a trace would freeze stays open, and a graph that is right for the traced number of images alone is refused."""

from __future__ import annotations

import builtins
import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tools.architectures
from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.source.module import open_module
from defian_edge.export.source.opening import open_source
from defian_edge.export.source.picture import PictureFormat
from defian_edge.export.trace.integers import SymbolicInt, open_integers
from defian_edge.export.trace.network import Io
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise
from tools.architectures import Swin, image_of, windows_of


class Hidden(nn.Module):
    """As SwinIR, which test_modules.py has, where nothing can stand in for ``int``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        height, width = x.shape[2:]
        windows = windows_of(self.conv(x).permute(0, 2, 3, 1), 2)
        batch = builtins.int(windows.shape[0] / (height * width / 2 / 2))
        image = windows.view(batch, height // 2, width // 2, 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
        tokens = image.reshape(batch, height * width, -1)
        return x + tokens.view(x.shape[0], height, width, 12).permute(0, 3, 1, 2)[:, :3]


def test_a_graph_that_is_right_for_the_traced_number_of_images_alone_is_refused():
    with pytest.raises(DefianError, match="gives another result than the network at 3x18x24") as error:
        open_source(Hidden()).trace(Io.UINT8)
    assert "number of images" in error.value.hint
    assert "defect" not in error.value.hint


class Folds(nn.Module):
    """What its input was rounded by it enlarges a thousandfold, so that no two ways to compute it agree."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x):
        return self.second(torch.sin(2.0**12 * self.first(x)))


def test_a_network_is_not_refused_for_what_it_makes_of_one_rounding_of_its_input():
    network = open_module(Folds(), PictureFormat())
    graph = network.trace(Io.UINT8)
    lr = noise(17, 23, 3)
    assert np.asarray(session_of(graph).run(None, {"image": lr[None]})[0]).shape == network.levels(lr[None]).shape
    values = network.picture.to_values(lr[None])
    expected = network._run(values)
    found = np.asarray(session_of(network._graph()).run(None, {"values": values})[0])
    assert np.abs(found - expected).max() > 1e-4 * np.abs(expected).max()


class Indirect(nn.Module):
    """Calls what divides through a module and a decorator, in a static method."""

    @staticmethod
    @functools.wraps(image_of)
    def joined(*arguments) -> torch.Tensor:
        return tools.architectures.image_of(*arguments)

    def forward(self, x):
        return self.joined(x, 2, 8, 8)


@pytest.mark.parametrize("make", [Swin, Indirect])
def test_int_stays_int_for_all_else(make):
    """In the code alone that says it and that the network calls."""
    with open_integers(make()):
        assert image_of.__globals__["int"] is SymbolicInt
        assert "int" not in globals()
        assert "int" not in vars(pytest)
    assert "int" not in image_of.__globals__
    assert SymbolicInt("12", base=3) == 5
    assert type(SymbolicInt(2.9)) is int
    assert isinstance(3, SymbolicInt)
    assert not isinstance(3.0, SymbolicInt)
    assert issubclass(bool, SymbolicInt)


class Settings(dict):
    """As some programs keep their settings: every name that is asked for is made up."""

    def __getattr__(self, name):
        return Settings()


SETTINGS: Any = Settings()


class Typed(nn.Module):
    """Code for which nothing but ``int`` itself will do, and that names settings."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        order = torch.arange(12, dtype=int) * int(SETTINGS.step or 1)  # pyright: ignore[reportCallIssue, reportArgumentType]
        return nn.functional.pixel_shuffle(self.conv(x)[:, order], 2)


def test_code_that_needs_int_itself_is_traced_with_it():
    network = open_module(Typed(), PictureFormat())
    lr = noise(17, 23, 3)[None]
    found = np.asarray(session_of(network.trace(Io.UINT8)).run(None, {"image": lr})[0]).astype(int)
    assert np.abs(found - network.levels(lr).clip(0, 255)).max() <= 1


def test_int_comes_back_whatever_happens():
    with pytest.raises(ZeroDivisionError), open_integers(Swin()):
        raise ZeroDivisionError
    assert "int" not in image_of.__globals__
