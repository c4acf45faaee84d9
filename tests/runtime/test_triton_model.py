"""Requests of a Triton server and the session behind it, without a server."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.tiles import TiledSession, in_tiles_where_needed
from defian_edge.runtime.triton_model import Refusal, Settings, served_file, tensor_of, upscale_requests
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger

FOUR = Settings(batch=4)


def is_answer(found: np.ndarray | Refusal, images: np.ndarray) -> bool:
    """Whether these pictures were answered with what they become."""
    return isinstance(found, np.ndarray) and np.array_equal(found, larger(images))


def larger(images: np.ndarray) -> np.ndarray:
    return images.repeat(2, axis=1).repeat(2, axis=2)


def test_pictures_of_one_size_go_together_up_to_the_batch_and_every_answer_is_its_requests():
    session = Enlarger()
    shapes = [(1, 4, 5, 3), (2, 6, 5, 3), (2, 4, 5, 3), (1, 4, 5, 3), (1, 4, 5, 3), (6, 4, 5, 3)]
    asked = [noise(*shape, seed=number) for number, shape in enumerate(shapes)]
    answers = upscale_requests(session, asked, FOUR)
    assert all(is_answer(answer, each) for answer, each in zip(answers, asked, strict=True))
    assert session.seen == [(4, 4, 5, 3), (2, 6, 5, 3), (1, 4, 5, 3), (6, 4, 5, 3)]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 4, 5, 4), np.uint8), "found uint8 [1, 4, 5, 4]"),
        (np.zeros((4, 5, 3), np.uint8), "found uint8 [4, 5, 3]"),
        (np.zeros((1, 4, 5, 3), np.float32), "found float32"),
        (np.zeros((1, 1, 1, 3), np.uint8), "at least two pixels"),
        (np.zeros((1, 30, 40, 3), np.uint8), "at most 1000 pixels, found 30x40, which is 1200"),
    ],
)
def test_a_request_that_is_none_is_refused_by_name_and_the_others_are_answered(images, words):
    good = noise(1, 4, 5, 3)
    first, bad, last = upscale_requests(Enlarger(), [good, images, good], Settings(batch=4, most_pixels=1000))
    assert isinstance(bad, Refusal)
    assert bad.is_clients
    assert words in bad.message
    assert is_answer(first, good)
    assert is_answer(last, good)


class Failing(Enlarger):
    def __call__(self, images: np.ndarray) -> np.ndarray:
        raise DefianError(f"the device failed at {images.shape}")


@pytest.mark.parametrize(("profile", "is_clients"), [("1x8x8,1x8x8,1x16x16", True), ("", False)])
def test_a_failure_is_the_clients_only_where_the_shape_is_outside_the_profile(profile, is_clients):
    [answer] = upscale_requests(Failing(profile=profile), [noise(1, 4, 4, 3)], FOUR)
    assert answer == Refusal("the device failed at (1, 4, 4, 3)", is_clients=is_clients)


class Spoiling(Enlarger):
    """Bright pictures come out black, as NaN leaves a network."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        upscaled = super().__call__(images)
        upscaled[images.mean(axis=(1, 2, 3)) > 150] = 0
        self.guard.see(images, upscaled)
        return upscaled


@pytest.mark.filterwarnings("ignore::defian_edge.runtime.guard.SuspiciousFrameWarning")
def test_a_picture_that_comes_out_black_is_refused_and_its_neighbour_in_the_batch_is_not():
    dark, bright = np.full((1, 6, 6, 3), 90, np.uint8), np.full((1, 6, 6, 3), 200, np.uint8)
    kept, refused = upscale_requests(Spoiling(), [dark, bright], FOUR)
    assert is_answer(kept, dark)
    assert isinstance(refused, Refusal)
    assert not refused.is_clients
    assert "came out black" in refused.message


def test_the_configuration_says_what_is_taken():
    parameters = {"tiles": "off", "most_pixels": "77", "provider": "cuda"}
    config = {"max_batch_size": 8, "parameters": {key: {"string_value": each} for key, each in parameters.items()}}
    assert Settings.of(config) == Settings("cuda", "off", 77, 8)
    assert Settings.of({"max_batch_size": 0}) == Settings()
    for key, wrong in (("tiles", "some"), ("most_pixels", "many"), ("most_pixels", "0")):
        with pytest.raises(DefianError, match=r"config\.pbtxt: expected tiles as auto or off"):
            Settings.of({"parameters": {key: {"string_value": wrong}}})


def test_a_version_holds_one_file_with_a_manifest(tmp_path):
    (tmp_path / "model.py").write_text("")
    with pytest.raises(DefianError, match="expected one graph or engine with its manifest, found none"):
        served_file(tmp_path)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_text("")
        (tmp_path / f"{name}.json").write_text("")
    with pytest.raises(DefianError, match=r"found a\.onnx, b\.onnx"):
        served_file(tmp_path)
    (tmp_path / "b.onnx.json").unlink()
    assert served_file(tmp_path) == tmp_path / "a.onnx"


@pytest.mark.parametrize(
    ("profile", "provider", "is_tiled"), [("", "cpu", True), ("", "cuda", False), ("1x8x8,1x8x8,1x64x64", "", True)]
)
def test_tiles_are_for_engines_and_for_graphs_on_the_cpu(profile, provider, is_tiled):
    assert isinstance(in_tiles_where_needed(Enlarger(profile=profile), provider), TiledSession) == is_tiled


def test_a_tensors_capsule_is_named_as_numpys_destructor_expects_it():
    """What Triton's backend does to a capsule is done here: it takes the memory and renames it its own way."""
    taken = []

    def from_dlpack(name, capsule):
        taken.append((name, capsule))
        rename = ctypes.pythonapi.PyCapsule_SetName
        rename.argtypes = [ctypes.py_object, ctypes.c_char_p]
        rename(capsule, b"used_dlpack")
        return name

    pb = SimpleNamespace(Tensor=SimpleNamespace(from_dlpack=from_dlpack))
    assert tensor_of(pb, "upscaled", noise(1, 2, 2, 3)) == "upscaled"
    [(_, capsule)] = taken
    name = ctypes.pythonapi.PyCapsule_GetName
    name.argtypes, name.restype = [ctypes.py_object], ctypes.c_char_p
    assert name(capsule) == b"used_dltensor"
