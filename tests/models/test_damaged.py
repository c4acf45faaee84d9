"""Checkpoints as people have them are loaded; whatever else a file may be is refused with one error, at little cost."""

from __future__ import annotations

import argparse
import io
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from defian_edge.models import checkpoint
from defian_edge.models.checkpoint import load_checkpoint, shapes_of
from defian_edge.models.defian import Architecture, DeFiAN, large, small
from defian_edge.runtime.errors import DefianError
from tests.conftest import random_checkpoint, tiny

STATE = dict(random_checkpoint(tiny()).state)
OTHER = {key: value + 1 for key, value in STATE.items()}


def behind(prefix: str, state: dict[str, torch.Tensor] = STATE) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


WRAPPED = {
    "params.pth": {"params": STATE},
    "params_ema.pth": {"params": OTHER, "params_ema": STATE},
    "ema.pth": {"net": OTHER, "ema": STATE, "optimizer": {"state": {}, "param_groups": []}},
    "model.pth": {"model": STATE, "epoch": 3},
    "nested.pth": {"checkpoint": {"model": {"state_dict": STATE}}},
    "net_g.pth": {"state_dict": behind("net_g.")},
    "compiled.pth": behind("_orig_mod."),
    "compiled_ddp.pth": {"state_dict": behind("module._orig_mod.")},
    "swa.pth": {"n_averaged": torch.tensor(5), **behind("module.")},
    "lightning.ckpt": {"state_dict": {**behind("model."), "loss.vgg.weight": torch.zeros(3)}, "global_step": 7},
    "UPPER.PTH": STATE,
    "numbers.pth": {"state_dict": STATE, "psnr": np.float64(37.6), "best": np.int64(3), "flag": np.bool_(1)},
    "options.pth": {"state_dict": STATE, "args": argparse.Namespace(lr=1e-4, scale=[2])},
    "parameters.bin": {key: torch.nn.Parameter(value) for key, value in STATE.items()},
    "half.pt": {key: value.half() for key, value in STATE.items()},
    "double.pt": {key: value.double() for key, value in STATE.items()},
}


@pytest.mark.parametrize("name", WRAPPED)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_what_training_programs_save_is_unwrapped(tmp_path, name, legacy):
    torch.save(WRAPPED[name], tmp_path / name, _use_new_zipfile_serialization=not legacy)
    loaded = load_checkpoint(tmp_path / name)
    assert loaded.architecture == tiny()
    assert set(loaded.state) == set(STATE)
    for key, value in STATE.items():
        expected = value.half().float() if name == "half.pt" else value
        assert torch.equal(loaded.state[key], expected), key
        assert not loaded.state[key].requires_grad


def test_a_file_is_told_by_its_content_and_not_by_its_suffix(tmp_path):
    save_file(STATE, tmp_path / "a.pth")
    torch.save(STATE, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert load_checkpoint(tmp_path / name).architecture == tiny()


def widened(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*({16: 500, 64: 2000, 1: 31}.get(size, size) for size in shape[:2]), *shape[2:])


def changed(key: str, change: Any) -> dict[str, Any]:  # noqa: ANN401
    return STATE | {key: change(STATE[key])}


REFUSED: dict[str, tuple[Any, str]] = {
    "surplus module": ({**STATE, "body.999999.x": torch.zeros(1)}, r"body\.999999\.x: expected at most 64 modules"),
    "surplus block": ({**STATE, "body.0.body_block.70000.x": torch.zeros(1)}, "at most 128 blocks"),
    "endless number": ({**STATE, f"body.{'9' * 5000}.x": torch.zeros(1)}, "at most 64 modules, found number 9999"),
    "a gap": ({**STATE, "body.3.x": torch.zeros(1)}, "modules from 0 to 3, found none of number 2"),
    "strides of 0": ({key: torch.zeros(1).expand(widened(value.shape)) for key, value in STATE.items()}, "found 4"),
    "too many channels": ({**STATE, "input.weight": torch.zeros(600, 3, 3, 3)}, "16 to 512 channels, found 600"),
    "no channels": ({**STATE, "input.weight": torch.zeros(0, 3, 3, 3)}, "16 to 512 channels, found 0"),
    "bool": (changed("tail.bias", lambda v: v > 0), "tail.bias: expected float32, .*found bool"),
    "int8": (changed("tail.bias", lambda v: v.to(torch.int8)), "found int8"),
    "complex": (changed("tail.bias", lambda v: v.to(torch.complex64)), "found complex64"),
    "float8": (changed("tail.bias", lambda v: v.to(torch.float8_e4m3fn)), "found float8_e4m3fn"),
    "sparse": (changed("tail.bias", lambda v: v.to_sparse()), "tail.bias: expected a dense tensor, found a sparse_coo"),
    "quantised": (changed("tail.bias", lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)), "dense|read"),
    "meta": (changed("tail.bias", lambda v: v.to("meta")), r"dense tensor, found a meta|read"),
    "nested": (changed("tail.bias", lambda v: torch.nested.nested_tensor([v, v])), "dense|read|not loaded"),
    "overflow": (changed("tail.bias", lambda v: v.double() + 1e300), "tail.bias: expected finite"),
    "text beside": ({**STATE, "note": "x"}, "expected a tensor under key note, found str"),
    "two networks": ({"a": STATE, "b": OTHER}, "expected one network, found 2: 'a', 'b'"),
    "two prefixes": (behind("a.") | behind("b."), r"expected one network, found 2: 'a\.', 'b\.'"),
    "a list": ([1, 2], "expected a state dict of tensors, found list"),
    "an empty dict": ({}, "no keys at all"),
    "another network": ({"state_dict": {"conv.weight": torch.zeros(1)}}, r"first key: conv\.weight"),
    "a module": (torch.nn.Linear(2, 2), "beside tensors it holds torch.nn.modules.linear.Linear"),
    "a path": ({"state_dict": STATE, "where": Path("x")}, "beside tensors it holds pathlib"),
    "a deep one": ({"a": {"b": {"c": {"d": {"e": STATE}}}}}, "every DeFiAN has it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_network_within_the_limits_is_refused_before_one_is_built(tmp_path, monkeypatch, name):
    built: list[Architecture] = []
    plain = DeFiAN.__init__

    def watched(network: DeFiAN, architecture: Architecture) -> None:
        built.append(architecture)
        plain(network, architecture)

    monkeypatch.setattr(checkpoint.DeFiAN, "__init__", watched)
    content, message = REFUSED[name]
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(DefianError, match=message):
        load_checkpoint(tmp_path / "c.pth")
    assert all((each.modules, each.blocks) == (1, 1) for each in built)


def test_a_number_that_would_hold_an_object_makes_none(tmp_path):
    torch.save({"state_dict": STATE, "x": np.array([print], dtype=object)}, tmp_path / "c.pth")
    with pytest.raises(DefianError, match="not loaded"):
        load_checkpoint(tmp_path / "c.pth")


FOREIGN = {
    "a web page": (b"<!DOCTYPE html><html><head><title>Virus scan warning</title>", "a web page"),
    "a web page, later": (b"\n\n <HTML>", "a web page"),
    "a web page that says it is UTF-8": (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
    "an LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
    "an answer": (b'{"error": "not found"}', "a server's error message"),
    "one byte": (b"\x80", "cannot be read"),
    "nothing": (b"", "cannot be read"),
    "a deep pickle": (b"\x80\x02" + b"(" * 100_000 + b".", "cannot be read|not loaded"),
    "a huge header": (b"\xff" * 7 + b"\x7f{", "cannot be read|not loaded"),
    "4 bits": (
        b'\x48\0\0\0\0\0\0\0{"input.weight":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}' + b" " * 20 + b"\0",
        "cannot be read",
    ),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_checkpoint_is_called_what_it_is(tmp_path, name, suffix):
    content, message = FOREIGN[name]
    path = tmp_path / f"c{suffix}"
    path.write_bytes(content)
    with pytest.raises(DefianError, match=message):
        load_checkpoint(path)


def test_a_file_that_unpacks_into_more_than_the_limit_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("defian_edge.models.reading.MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("archive/data/0", bytes(2 << 20))
    with pytest.raises(DefianError, match="at most 0 GiB unpacked"):
        load_checkpoint(tmp_path / "c.pth")
    monkeypatch.undo()
    monkeypatch.setattr("defian_edge.models.reading.MOST_COMPRESSED", 1 << 20)
    with pytest.raises(DefianError, match=r"expected tensors as they are, .* found 2 MiB that are compressed"):
        load_checkpoint(tmp_path / "c.pth")
    monkeypatch.setattr("defian_edge.models.reading.MOST_BYTES", 1 << 20)
    (tmp_path / "large.pth").write_bytes(bytes(2 << 20))
    with pytest.raises(DefianError, match="at most 0 GiB, found"):
        load_checkpoint(tmp_path / "large.pth")


@pytest.mark.parametrize("architecture", [tiny(3), tiny(4), small(2), large(4), Architecture(48, 2, 3, 2)], ids=str)
def test_shapes_told_without_building_are_those_of_the_network(architecture):
    with torch.device("meta"):
        built = {key: tuple(value.shape) for key, value in DeFiAN(architecture).state_dict().items()}
    assert shapes_of(architecture) == built


def zipped() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": STATE, "psnr": np.float64(1.5)}, buffer)
    return buffer.getvalue()


def legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save({"state_dict": STATE, "epoch": 1}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


WHOLE = {"zip": zipped(), "legacy": legacy(), "safetensors": save(STATE)}


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_damage_is_one_error_and_nothing_else(kind, data):
    """Bytes replaced, cut out, put in and cut off, anywhere; most of it where the pickle or the header is."""
    content = bytearray(WHOLE[kind])
    place = st.integers(0, len(content) - 1) | st.integers(0, 3000) | st.integers(len(content) - 3000, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(place)
        with_what = data.draw(st.binary(max_size=6))
        length = data.draw(st.sampled_from([len(with_what), 0, 1, 8, len(content)]))
        content[at : at + length] = with_what
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.pth")
        path.write_bytes(content)
        with suppress(DefianError):
            assert load_checkpoint(path).architecture == tiny()
