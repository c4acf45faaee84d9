"""Pictures are upright, whatever their file's orientation, colours, depth and compression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.batch import Batch
from defian_edge.runtime.images import read_image
from defian_edge.runtime.jobs import plan_jobs
from defian_edge.runtime.resume import Resume
from tests.conftest import noise
from tests.doubles.enlarger import Enlarger
from tests.doubles.tiff import tiff

if TYPE_CHECKING:
    from collections.abc import Callable

TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""What EXIF's orientation says is to be done (JEITA CP-3451, 4.6.4)."""
CHANNELS = {"1": 1, "L": 1, "LA": 2, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "I;16": 1}
RAW, DEFLATE = "raw", "tiff_adobe_deflate"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_a_picture_is_turned_and_its_date_camera_and_resolution_are_kept(tmp_path, orientation, suffix):
    block = Image.Exif()
    block[0x0112], block[0x0110], block[0x0132] = orientation, "Camera", "2024:11:26 12:30:00"
    block.get_ifd(0x8769).update({0x9003: "2024:11:26 12:30:00", 0xA002: 16, 0xA003: 8})
    block.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0)})
    pixels = np.full((8, 16, 3), 40, np.uint8)
    pixels[:4, :8] = 220
    source = tmp_path / f"a.{suffix}"
    more: Any = {"quality": 100} if suffix in ("jpg", "webp") else {}
    Image.fromarray(pixels).save(source, exif=block, dpi=(300, 150), **more)
    jobs = plan_jobs([source], tmp_path / "sr")
    assert Batch(Enlarger(), Resume(tmp_path / "sr", {}), tmp_path / "sr").run(jobs).failures == []
    expected = TURNED[orientation](pixels).repeat(2, axis=0).repeat(2, axis=1)
    with Image.open(tmp_path / "sr" / "a.png") as result:
        said = result.getexif()
        assert np.abs(np.asarray(result).astype(int) - expected).mean() < 4
        assert said.get(0x0112, 1) == 1
        assert (said[0x0110], said[0x0132]) == ("Camera", "2024:11:26 12:30:00")
        if suffix != "tif":  # Pillow writes no blocks below a TIFF's
            assert said.get_ifd(0x8769)[0x9003] == "2024:11:26 12:30:00"
            assert said.get_ifd(0x8825)[1] == "N"
        assert 0xA002 not in said.get_ifd(0x8769)
        if suffix != "webp":
            assert result.info["dpi"] == pytest.approx((300, 150), abs=0.1)


def of_mode(mode: str) -> Image.Image:
    """A picture in which no turn is any other."""
    pixels = noise(14, 18, CHANNELS[mode]).squeeze()
    if mode == "I;16":
        return Image.fromarray(pixels.astype(np.uint16) * 257)
    if mode == "1":
        return Image.fromarray(pixels).convert("1")
    picture = Image.fromarray(pixels, "L" if mode == "P" else mode)
    if mode == "P":
        picture = picture.convert("P")
        picture.putpalette(noise(256, 3, seed=1).tobytes())
    return picture


@pytest.mark.parametrize("compression", [RAW, DEFLATE])
@pytest.mark.parametrize("mode", CHANNELS)
def test_a_tiff_of_any_mode_is_upright(tmp_path, mode, compression):
    picture = of_mode(mode)
    picture.save(tmp_path / "plain.tif", compression=compression)
    plain = read_image(tmp_path / "plain.tif")
    for orientation, turn in TURNED.items():
        path = tmp_path / f"{orientation}.tif"
        picture.save(path, compression=compression, tiffinfo={274: orientation})
        assert np.array_equal(read_image(path), turn(plain)), orientation


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("bits", "channels"), [(8, 3), (16, 3), (16, 1)])
def test_a_tiff_of_any_depth_is_upright(tmp_path, bits, channels, order):
    if (bits, channels, order) == (16, 1, ">"):
        photometric, values = 1, noise(7, 9).astype(np.int64) * 256
    else:
        photometric, values = 2 if channels == 3 else 1, noise(7, 9, channels).squeeze().astype(np.int64)
        values = values * 257 if bits == 16 else values
    plain = read_image(tiff(tmp_path / "plain.tif", values, bits, photometric, order))
    for orientation, turn in TURNED.items():
        path = tiff(tmp_path / f"{orientation}.tif", values, bits, photometric, order, orientation)
        assert np.array_equal(read_image(path), turn(plain)), orientation


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_compressed_tiff_of_any_depth_is_upright(tmp_path, depth):
    tifffile = pytest.importorskip("tifffile")
    values = noise(7, 9, 3).astype(depth) * (257 if depth == np.uint16 else 1)
    given: Any = {"photometric": "rgb", "compression": "zlib"}
    for orientation, turn in TURNED.items():
        path = tmp_path / f"{orientation}.tif"
        tifffile.imwrite(path, values, extratags=[(274, 3, 1, orientation, True)], **given)
        assert np.array_equal(read_image(path), turn(noise(7, 9, 3))), orientation


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_png_of_any_depth_is_upright(tmp_path, mode):
    picture, block = of_mode(mode), Image.Exif()
    picture.save(tmp_path / "plain.png")
    for orientation, turn in TURNED.items():
        block[274] = orientation
        picture.save(tmp_path / f"{orientation}.png", exif=block)
        assert np.array_equal(read_image(tmp_path / f"{orientation}.png"), turn(read_image(tmp_path / "plain.png")))
