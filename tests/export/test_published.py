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

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.source.opening import open_source
from defian_edge.export.source.picture import PictureFormat
from defian_edge.export.source.published import open_published
from defian_edge.export.source.sizes import Fit
from defian_edge.export.tables import reach_words
from defian_edge.export.trace.network import Io
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of
from tests.conftest import noise, random_checkpoint, tiny
from tools.architectures import Edsr

if TYPE_CHECKING:
    from pathlib import Path


def needs(multiple_of: int = 1, minimum: int = 0, *, square: bool = False) -> SimpleNamespace:
    """What sizes spandrel says that a network takes."""
    return SimpleNamespace(multiple_of=multiple_of, minimum=minimum, square=square)


@dataclass
class Descriptor:
    """What spandrel says of a network from picture to picture."""

    model: torch.nn.Module
    scale: int = 2
    input_channels: int = 3
    output_channels: int = 3
    architecture: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="EDSR"))
    size_requirements: SimpleNamespace = field(default_factory=needs)
    tiling: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(name="SUPPORTED"))


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
        (Descriptor(Edsr(), size_requirements=needs(128, square=True)), "found EDSR, which takes squares alone"),
        (ValueError("no such architecture\nand more"), "spandrel cannot load .*: no such architecture$"),
    ],
)
def test_what_cannot_be_exported_is_refused(spandrel, checkpoint, found, message):
    spandrel.found = found
    with pytest.raises(DefianError) as error:
        open_source(checkpoint)
    assert re.search(message, error.value.message)


@pytest.mark.parametrize(
    ("sizes", "expected", "words"),
    [
        (needs(), Fit(2), ""),
        (needs(8), Fit(2, 8), "multiples of 8"),
        (needs(4, 16), Fit(2, 4, 16), "multiples of 4 and 16 pixels at least"),
        (needs(1, 10), Fit(2, 1, 10), "10 pixels at least"),
        (needs(12), Fit(2, 12), "multiples of 12"),
        (needs(128), Fit(2, 128), "multiples of 128"),
    ],
)
def test_the_sizes_that_it_demands_hold_though_others_ran(spandrel, checkpoint, sizes, expected, words):
    """EDSR runs at any size; a network may run at sizes at which it gives worse pictures."""
    spandrel.found = Descriptor(Edsr(), size_requirements=sizes)
    network = open_published(checkpoint, PictureFormat())
    assert network.fit == expected
    assert network.description.partition("padded to ")[2] == words
    assert network.evaluate(noise(5, 9, 3)).image.shape == (10, 18, 3)


@pytest.mark.parametrize(
    ("tiling", "words"),
    [("SUPPORTED", ""), ("DISCOURAGED", "spandrel discourages tiles"), ("INTERNAL", "into tiles itself")],
)
def test_what_it_says_of_tiles_is_kept_and_told(spandrel, checkpoint, tiling, words):
    spandrel.found = Descriptor(Edsr(), tiling=SimpleNamespace(name=tiling))
    network = open_source(checkpoint)
    assert network.source["tiling"] == tiling.lower()
    told = reach_words(network.reach, network.source["tiling"])
    assert words in told
    assert told.startswith(reach_words(network.reach))
    assert bool(words) == (told != reach_words(network.reach))


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "cannot be imported: operator torchvision::nms"),
        (ModuleNotFoundError("No module named 'torchvision'", name="torchvision"), "cannot be imported: No module"),
        (ModuleNotFoundError("No module named 'spandrel'", name="spandrel"), "needs the package 'spandrel'"),
    ],
)
def test_a_spandrel_that_cannot_be_imported_is_told_from_none(problem, message, tmp_path, monkeypatch, checkpoint):
    """PyPI's torchvision beside torch for the CPU alone raises RuntimeError when it is imported."""
    lines = f"raise {type(problem).__name__}({problem.args[0]!r})"
    if isinstance(problem, ModuleNotFoundError):
        lines = f"raise ModuleNotFoundError({problem.args[0]!r}, name={problem.name!r})"
    (tmp_path / "spandrel.py").write_text(lines)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    with pytest.raises(DefianError) as error:
        open_source(checkpoint)
    assert message in error.value.message
    assert "torchvision" in error.value.hint or "pip install 'defian-edge[spandrel]'" in error.value.hint


@pytest.fixture(scope="module")
def real():
    """The real package's architectures; without it, or without the torchvision that it needs, the test skips."""
    try:
        from spandrel.architectures import SAFMN, SwinIR  # pyright: ignore[reportMissingImports]
    except Exception as error:
        pytest.skip(f"no spandrel: {error}")
    return SimpleNamespace(
        safmn=lambda: SAFMN.SAFMN(dim=16, n_blocks=1, upscaling_factor=2),
        swinir=lambda: SwinIR.SwinIR(
            upscale=2, img_size=64, window_size=8, depths=[2], embed_dim=24, num_heads=[2],
            upsampler="pixelshuffledirect",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "tiling", "words"), [
    ("safmn", "supported", "SAFMN x2, RGB in 0..1, padded to multiples of 8"),
    ("swinir", "discouraged", "SwinIR x2, RGB in 0..1, padded to 16 pixels at least"),
])  # fmt: skip
def test_the_real_one_tells_an_architecture_and_the_graph_is_its_network(name, tiling, words, real, tmp_path):
    torch.manual_seed(0)
    module = getattr(real, name)().eval()
    torch.save(module.state_dict(), tmp_path / "net.pth")
    network = open_source(tmp_path / "net.pth")
    assert network.description == words
    assert network.source["tiling"] == tiling
    session = session_of(network.trace(Io.UINT8))
    images = noise(3, 16, 32, 3)
    with torch.inference_mode():
        values = module(torch.from_numpy(images / 255).float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    assert np.abs(np.asarray(session.run(None, {"image": images})[0]) - np.clip(255 * values, 0, 255)).max() < 0.53


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
