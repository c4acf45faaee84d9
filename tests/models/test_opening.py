"""A checkpoint from a name, a file, or a network that is loaded already."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from defian_edge.models.bundled import bundled_models
from defian_edge.models.opening import open_checkpoint
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import sha256_of
from tests.conftest import random_checkpoint, tiny


class Wrapped(torch.nn.Module):
    """As training programs do, with a prefix and something beside the network."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.module = network
        self.loss = torch.nn.Linear(2, 2)


@pytest.mark.parametrize("wrap", [lambda network: network, Wrapped, lambda network: network.to(torch.float64).train()])
def test_a_loaded_network_gives_its_weights_whatever_is_around_them(wrap):
    expected = random_checkpoint(tiny(4))
    opened = open_checkpoint(wrap(expected.network()))
    assert (opened.architecture, opened.name) == (tiny(4), "network-x4")
    assert set(opened.state) == set(expected.state)
    assert all(torch.equal(opened.state[key], expected.state[key]) for key in expected.state)


def test_its_hash_is_that_of_the_file_that_it_would_be_saved_as(tmp_path):
    network = random_checkpoint(tiny()).network()
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, tmp_path / "a.safetensors")
    assert open_checkpoint(network).sha256 == sha256_of(tmp_path / "a.safetensors")
    assert open_checkpoint(tmp_path / "a.safetensors").sha256 == open_checkpoint(network).sha256


def test_what_is_exported_does_not_change_with_the_network():
    network = random_checkpoint(tiny()).network()
    opened = open_checkpoint(network)
    before = opened.state["input.weight"].clone()
    with torch.no_grad():
        network.state_dict()["input.weight"].zero_()
    assert torch.equal(opened.state["input.weight"], before)


def test_names_and_checkpoints_are_taken_and_all_else_is_refused():
    path = bundled_models()["defian-s-x2"]
    assert open_checkpoint("defian-s-x2").sha256 == open_checkpoint(path).sha256
    checkpoint = random_checkpoint(tiny())
    assert open_checkpoint(checkpoint) is checkpoint
    with pytest.raises(DefianError, match=r"key input\.weight: every DeFiAN has it"):
        open_checkpoint(torch.nn.Linear(2, 2))
    with pytest.raises(DefianError, match="found int"):
        open_checkpoint(3)  # type: ignore[arg-type]
