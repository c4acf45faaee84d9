from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from defian_edge.models.bundled import bundled_models, resolve_model
from defian_edge.models.checkpoint import load_checkpoint
from defian_edge.models.defian import Architecture, DeFiAN, small
from defian_edge.runtime.errors import DefianError
from tests.conftest import SHARED, random_checkpoint, tiny


@pytest.fixture
def state():
    return dict(random_checkpoint(tiny()).state)


def save(path, state, prefix=""):
    torch.save({"epoch": 7, "state_dict": {prefix + key: value for key, value in state.items()}}, path)
    return path


@pytest.mark.parametrize("architecture", [tiny(2), tiny(3), tiny(4), Architecture(32, 3, 1, 3)], ids=str)
@pytest.mark.parametrize("prefix", ["", "module."], ids=["plain", "DataParallel"])
def test_a_checkpoint_is_described_from_its_own_keys(tmp_path, architecture, prefix):
    path = save(tmp_path / "c.pth", random_checkpoint(architecture).state, prefix)
    assert load_checkpoint(path).architecture == architecture


def test_safetensors_and_pth_load_the_same_weights(tmp_path, state):
    save_file(state, tmp_path / "c.safetensors")
    first, second = load_checkpoint(tmp_path / "c.safetensors"), load_checkpoint(save(tmp_path / "c.pth", state))
    assert all(torch.equal(first.state[key], second.state[key]) for key in state)


def test_the_frozen_biases_of_the_checkpoint_are_used_and_not_drawn_anew(tmp_path, state):
    network = load_checkpoint(save(tmp_path / "c.pth", state)).network()
    key = "body.0.hessian5.0.grad_xy.bias"
    assert torch.equal(network.state_dict()[key], state[key])
    assert state[key].abs().max() > 0


def test_bundled_models_are_the_papers_small_network():
    names = bundled_models()
    assert {"defian-s-x2", "defian-s-x4"} <= set(names)
    for name, path in names.items():
        assert load_checkpoint(path).architecture == small(int(name[-1]))


@pytest.mark.parametrize("scale", [2, 4])
def test_bundled_weights_are_those_of_the_authors_format(scale):
    original = SHARED / "weights" / f"defian_s_x{scale}.pth"
    if not original.is_file():
        pytest.skip(f"no {original}")
    bundled, trained = load_checkpoint(bundled_models()[f"defian-s-x{scale}"]), load_checkpoint(original)
    assert all(torch.equal(bundled.state[key], value) for key, value in trained.state.items())


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.pth"
    torch.save({"state_dict": Malicious()}, path)
    with pytest.raises(DefianError, match="run code"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DefianError):
        load_checkpoint(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 10, 1000, -100])
def test_a_truncated_file_is_refused(tmp_path, state, suffix, kept):
    path = tmp_path / f"c{suffix}"
    save_file(state, path) if suffix == ".safetensors" else save(path, state)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DefianError, match=r"truncated|no plain checkpoint"):
        load_checkpoint(path)


def test_the_first_key_that_differs_is_named_with_both_shapes(tmp_path, state):
    state["body.1.coder.0.gate.weight"] = torch.zeros(2, 3, 1, 1)
    with pytest.raises(
        DefianError, match=r"body\.1\.coder\.0\.gate\.weight: expected shape \(1, 3, 1, 1\).*found \(2, 3, 1, 1\)"
    ):
        load_checkpoint(save(tmp_path / "c.pth", state))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("tail.bias"), r"tail\.bias.*no such key"),
        (lambda s: s.update({"extra.weight": torch.zeros(1)}), r"extra\.weight.*no such key"),
        (lambda s: s.pop("input.weight"), r"input\.weight: every DeFiAN has it"),
        (lambda s: s.update({"upscale.0.0.weight": torch.zeros(80, 16, 3, 3)}), r"expected 64 or 144 output channels"),
        (lambda s: s.update({"tail.bias": torch.full((16,), torch.nan)}), r"tail\.bias: expected finite"),
    ],
    ids=["missing key", "surplus key", "no input", "scale", "NaN"],
)
def test_what_is_no_defian_is_refused(tmp_path, state, change, message):
    change(state)
    with pytest.raises(DefianError, match=message):
        load_checkpoint(save(tmp_path / "c.pth", state))


def test_another_network_is_refused_by_name_of_the_key_it_lacks(tmp_path):
    torch.save(torch.nn.Linear(3, 3).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(DefianError, match=r"input\.weight"):
        load_checkpoint(tmp_path / "linear.pth")


def test_a_missing_file_and_an_unknown_name_say_what_is_there(tmp_path):
    with pytest.raises(DefianError, match="No checkpoint"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(DefianError, match="defian-s-x2"):
        resolve_model("defian-xl-x2")


def test_loading_is_strict():
    checkpoint = random_checkpoint(tiny())
    network = DeFiAN(tiny())
    assert network.load_state_dict(checkpoint.state, strict=True).missing_keys == []
