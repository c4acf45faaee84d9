"""A checkpoint that is no DeFiAN is loaded by spandrel, here by a double; without it the error says what to install."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from defian_edge.export.source.opening import open_source
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of
from tests.conftest import noise, random_checkpoint, tiny
from tools.architectures import Edsr

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Descriptor:
    """What spandrel says of a network from picture to picture."""

    model: torch.nn.Module
    scale: int = 2
    input_channels: int = 3
    output_channels: int = 3
    architecture: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="EDSR"))


class Other:
    """What it says of any other network."""


@pytest.fixture
def spandrel(monkeypatch):
    """``spandrel.found`` is what its loader gives for any file; an exception is raised."""
    double: Any = ModuleType("spandrel")
    double.__spec__ = ModuleSpec("spandrel", None)
    double.found = Descriptor(Edsr())

    class ModelLoader:
        def load_from_file(self, path: Path):
            assert path.is_file()
            if isinstance(double.found, Exception):
                raise double.found
            return double.found

    double.ImageModelDescriptor, double.ModelLoader = Descriptor, ModelLoader
    monkeypatch.setitem(sys.modules, "spandrel", double)
    return double


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    torch.save(Edsr().state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"


def test_its_network_is_taken_with_the_file_s_name_and_hash(spandrel, checkpoint):
    network = open_source(checkpoint)
    assert (network.name, network.scale, network.sha256) == ("net", 2, sha256_of(checkpoint))
    assert network.description.startswith("EDSR x2")
    assert network.source["kind"] == "spandrel"
    lr = noise(9, 8, 3)
    with torch.inference_mode():
        values = spandrel.found.model.eval()(torch.from_numpy(lr / 255).float().permute(2, 0, 1)[None])
    expected = np.clip(255 * values[0].permute(1, 2, 0).numpy(), 0, 255)
    assert np.abs(network.evaluate(lr).values - expected).max() < 1e-3


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Other(), "found Other"),
        (Descriptor(Edsr(), scale=4), "expected a network of scale 4, found that it enlarges by 2"),
        (Descriptor(Edsr(), input_channels=4), "found EDSR from 4 to 3"),
        (ValueError("no such architecture\nand more"), "spandrel cannot load .*: no such architecture$"),
    ],
)
def test_what_cannot_be_exported_is_refused(spandrel, checkpoint, found, message):
    spandrel.found = found
    with pytest.raises(DefianError) as error:
        open_source(checkpoint)
    assert re.search(message, error.value.message)


def test_a_defian_never_goes_there_and_neither_does_a_damaged_file(spandrel, tmp_path):
    spandrel.found = AssertionError("it was asked")
    torch.save(random_checkpoint(tiny()).state, tmp_path / "ours.pth")
    assert open_source(tmp_path / "ours.pth").source == {}
    (tmp_path / "damaged.pth").write_bytes((tmp_path / "ours.pth").read_bytes()[:2000])
    with pytest.raises(DefianError, match="truncated"):
        open_source(tmp_path / "damaged.pth")


@pytest.mark.skipif(importlib.util.find_spec("spandrel") is not None, reason="spandrel is installed")
def test_without_it_the_error_says_what_is_no_defian_about_it_and_what_to_install(checkpoint):
    with pytest.raises(DefianError, match=r"key input\.weight: every DeFiAN has it") as error:
        open_source(checkpoint)
    assert "pip install 'defian-edge[spandrel]'" in error.value.hint
