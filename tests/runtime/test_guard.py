"""The frame guard: what no picture can explain is noticed, and pictures are not."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.calibration.photos import bundled_photos
from defian_edge.runtime.guard import FrameGuard, SuspiciousFrameWarning, is_suspicious, suspicious_place
from defian_edge.runtime.images import read_image
from tests.conftest import noise


@pytest.mark.parametrize(("value", "colour"), [(0, "black"), (255, "white")])
def test_a_frame_without_a_picture_is_counted_and_warned_of_once(value, colour):
    guard, images = FrameGuard(), noise(3, 8, 8, 3)
    upscaled = noise(3, 16, 16, 3, seed=1)
    upscaled[1:] = value
    with pytest.warns(SuspiciousFrameWarning, match=f"Frame 2 came out {colour}") as warned:
        guard.see(images, upscaled)
    assert (guard.frames, guard.suspicious, len(warned)) == (3, 2, 1)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(("value", "name"), [(0, "black"), (255, "white")])
@pytest.mark.parametrize("side", [5, 9])
def test_a_patch_without_a_picture_is_found_wherever_it_is_and_in_one_channel(scale, value, name, side):
    image = np.random.default_rng(0).integers(90, 160, (31, 40, 3), dtype=np.uint8)
    result = image.repeat(scale, axis=0).repeat(scale, axis=1)
    assert suspicious_place(image, result) is None
    for top, left in ((0, 0), (7, 11), (11, 20), (20, 30)):
        spoiled = result.copy()
        spoiled[scale * top : scale * (top + side), scale * left : scale * (left + side), 1] = value
        found = re.fullmatch(rf"{name} at (\d+),(\d+) in green", suspicious_place(image, spoiled) or "")
        assert found is not None, (top, left)
        assert top <= int(found.group(2)) < top + side
        assert left <= int(found.group(1)) < left + side


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("shape", [(30, 39), (31, 40), (32, 41), (64, 3), (3, 5)])
def test_what_a_single_value_before_the_last_convolution_spoils_is_found_at_every_pixel(scale, shape):
    image = np.random.default_rng(0).integers(90, 160, (*shape, 3), dtype=np.uint8)
    result = image.repeat(scale, axis=0).repeat(scale, axis=1)
    assert suspicious_place(image, result) is None
    for row, column in np.ndindex(shape):
        spoiled = result.copy()
        top, left = max(row - 2, 0), max(column - 2, 0)
        spoiled[scale * top : scale * (row + 3), scale * left : scale * (column + 3)] = 0
        assert suspicious_place(image, spoiled), (row, column)


def test_a_side_of_one_or_two_pixels_is_judged_as_a_whole():
    for shape in ((1, 9, 3), (9, 2, 3)):
        image = np.full(shape, 128, np.uint8)
        assert suspicious_place(image, image.repeat(2, axis=0).repeat(2, axis=1)) is None
        assert suspicious_place(image, np.zeros((2 * shape[0], 2 * shape[1], 3), np.uint8)) == "black"


def test_nan_anywhere_in_the_network_is_noticed(tiny_graph):
    """In the graph itself: one weight of each convolution in turn is NaN."""
    model = onnx.load_from_string(tiny_graph)
    images = np.random.default_rng(0).integers(80, 170, (1, 24, 30, 3), dtype=np.uint8)
    kernels = [each for each in model.graph.initializer if len(each.dims) == 4 and each.dims[2] == 3]
    assert len(kernels) > 10
    for kernel in kernels:
        values = numpy_helper.to_array(kernel)
        spoiled = values.copy()
        spoiled[0, 0] = np.nan
        kernel.CopyFrom(numpy_helper.from_array(spoiled, kernel.name))
        upscaled = np.asarray(session_of(ir.from_proto(model)).run(None, {"image": images})[0])
        assert suspicious_place(images[0], upscaled[0]), kernel.name
        kernel.CopyFrom(numpy_helper.from_array(values, kernel.name))
    upscaled = np.asarray(session_of(ir.from_proto(model)).run(None, {"image": images})[0])
    assert suspicious_place(images[0], upscaled[0]) is None


def test_no_photo_is_suspicious(bundled_x2):
    """The trained network on corners of photos: black letters, skies, and what hard edges overshoot."""
    from defian_edge.export.reference import reference_outputs

    photos = bundled_photos(("astronaut.png", "page.png", "text.png", "rocket.jpg"))
    images = [read_image(path)[:64, :96] for path in photos]
    for image, upscaled in zip(images, reference_outputs(bundled_x2.network(), images), strict=True):
        assert suspicious_place(image, upscaled) is None


@pytest.mark.parametrize("value", [0, 255])
def test_a_black_or_white_picture_of_a_black_or_white_scene_is_no_mistake(value):
    scene = np.full((8, 8, 3), value, np.uint8)
    assert not is_suspicious(scene, np.full((16, 16, 3), value, np.uint8))
    almost = np.full((16, 16, 3), value, np.uint8)
    almost[7, 7] = 128
    assert not is_suspicious(noise(8, 8, 3), almost)
