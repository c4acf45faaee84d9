"""What a picture file means is what is upscaled: depth, white, colours, turns; and what it says is kept or told."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from defian_edge.runtime import decoding
from defian_edge.runtime.batch import Batch
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import SUFFIXES, read_image, read_photo, write_png
from defian_edge.runtime.jobs import plan_jobs
from defian_edge.runtime.resume import Resume
from tests.conftest import SHARED, noise
from tests.doubles.enlarger import Enlarger
from tests.doubles.tiff import tiff

if TYPE_CHECKING:
    from pathlib import Path


def deep(*shape: int, white: int = 65535, seed: int = 0) -> np.ndarray:
    """Values that rounding and truncating tell apart, black and white among them."""
    values = np.random.default_rng(seed).integers(0, white + 1, shape)
    values.flat[:4] = (0, white, white // 2, 200 % white)
    return values


def rounded(values: np.ndarray, white: int = 65535) -> np.ndarray:
    grey = np.floor(values.astype(np.int64) * 255 / white + 0.5).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1) if grey.ndim == 2 else grey[..., :3] if grey.shape[2] > 2 else grey


def png16(path: Path, values: np.ndarray, *, interlaced: bool = False) -> Path:
    """A PNG of 16 bits a channel, every row with another filter."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    raw = b""
    for top, left, down, across in passes:
        part = values[top::down, left::across]
        for index, row in enumerate(part if part.size else ()):
            raw += filtered(row.astype(">u2").tobytes(), 2 * values.shape[2], index % 2)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def filtered(row: bytes, step: int, kind: int) -> bytes:
    """No filter, or Sub: the difference to the pixel on the left."""
    before = bytes(step) + row
    return bytes([kind]) + (bytes((a - b) & 255 for a, b in zip(row, before, strict=False)) if kind else row)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_of_16_bits_is_rounded(tmp_path, channels, interlaced):
    values = deep(13, 11, channels)
    expected = rounded(values[..., :3] if channels > 2 else values[..., 0])
    assert np.array_equal(read_image(png16(tmp_path / "a.png", values, interlaced=interlaced)), expected)


REFUSED_BY_PILLOW = {(12, 0, "<"), (12, 0, ">"), (12, 1, ">"), (16, 0, ">")}


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_grey_tiff_has_its_own_white_and_its_own_side_of_black(tmp_path, bits, photometric, order):
    white = (1 << bits) - 1
    values = deep(10, 12, white=white)
    try:
        read = read_image(tiff(tmp_path / "a.tif", values, bits, photometric, order))
    except DefianError:
        assert (bits, photometric, order) in REFUSED_BY_PILLOW, "what cannot be decoded is refused, never guessed"
        return
    assert np.array_equal(read, rounded(white - values if photometric == 0 else values, white))


@pytest.mark.parametrize("bits", [10, 14])
@pytest.mark.parametrize("photometric", [0, 1])
def test_depths_that_cannot_be_decoded_are_refused(tmp_path, bits, photometric):
    path = tiff(tmp_path / "a.tif", deep(10, 12, white=(1 << bits) - 1), bits, photometric)
    with pytest.raises(DefianError, match=r"cannot be decoded|expected"):
        read_image(path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_colour_tiff_of_16_bits_is_rounded(tmp_path, order):
    values = deep(10, 12, 3)
    assert np.array_equal(read_image(tiff(tmp_path / "a.tif", values, 16, 2, order)), rounded(values))


def test_a_compressed_tiff_of_16_bits_is_rounded(tmp_path):
    skimage_io = pytest.importorskip("tifffile")
    values = deep(40, 33, 3).astype(np.uint16)
    skimage_io.imwrite(tmp_path / "a.tif", values, photometric="rgb", compression="zlib")
    assert np.array_equal(read_image(tmp_path / "a.tif"), rounded(values))


def test_a_grey_map_of_16_bits_is_rounded(tmp_path):
    values = deep(5, 7)
    (tmp_path / "a.pgm").write_bytes(b"P5 7 5 65535\n" + values.astype(">u2").tobytes())
    assert np.array_equal(read_image(tmp_path / "a.pgm"), rounded(values))


def test_the_small_inputs_that_went_wrong_are_read_as_they_are_meant():
    cases = SHARED / "cases"
    if not cases.is_dir():
        pytest.skip(f"no {cases}")
    expected = read_image(cases / "tiff" / "expected_input.png")
    for name in ("whiteiszero16.tif", "whiteiszero8_ok.tif"):
        assert np.array_equal(read_image(cases / "tiff" / name), expected)
    with Image.open(cases / "icc" / "p3.png") as image:
        raw = np.asarray(image.convert("RGB"))
    shown = np.abs(read_image(cases / "icc" / "p3.png").astype(int) - srgb_of_p3(raw))
    inside = unclipped(raw)
    assert inside.mean() > 0.1
    assert shown[inside].max() <= 3


P3 = np.array([[0.4865709, 0.2656677, 0.1982173], [0.2289746, 0.6917385, 0.0792869], [0, 0.0451134, 1.0439444]])
SRGB = np.array(
    [[3.2409699, -1.5373832, -0.4986108], [-0.9692436, 1.8759675, 0.0415551], [0.0556301, -0.203977, 1.0569715]]
)
"""IEC 61966-2-1 and SMPTE EG 432-1, both with the white D65."""


def linear_srgb(colours: np.ndarray) -> np.ndarray:
    values = colours / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return light @ P3.T @ SRGB.T


def unclipped(colours: np.ndarray) -> np.ndarray:
    light = linear_srgb(colours)
    return np.all((light > 0.002) & (light < 1), axis=-1)


def srgb_of_p3(colours: np.ndarray) -> np.ndarray:
    light = linear_srgb(colours).clip(0, 1)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(int)


def save_with_profile(path: Path, image: Image.Image, profile: bytes) -> Path:
    image.save(path, icc_profile=profile)
    return path


def test_a_profile_that_is_srgb_changes_no_pixel(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = noise(20, 30, 3)
    assert np.array_equal(read_image(save_with_profile(tmp_path / "a.png", Image.fromarray(pixels), profile)), pixels)


@pytest.mark.parametrize("content", [b"x" * 200, bytes(128)])
def test_a_profile_that_cannot_be_used_is_told(tmp_path, content):
    pixels = noise(6, 6, 3)
    photo = read_photo(save_with_profile(tmp_path / "a.png", Image.fromarray(pixels), content))
    assert np.array_equal(photo.pixels, pixels)
    assert "colour profile cannot be used" in photo.remarks[0]


def test_a_profile_of_another_colour_space_and_cmyk_without_one_are_told(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    photo = read_photo(save_with_profile(tmp_path / "a.png", Image.fromarray(noise(6, 6, 3)), lab))
    assert "profile is for Lab, the picture is RGB" in photo.remarks[0]
    Image.fromarray(noise(6, 6, 4), mode="CMYK").save(tmp_path / "b.tif")
    assert "CMYK without a profile" in read_photo(tmp_path / "b.tif").remarks[0]


def test_what_a_file_without_such_facts_says_is_not_invented(tmp_path):
    Image.fromarray(noise(6, 6, 3)).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert (photo.exif, photo.dpi, photo.left_out, photo.remarks) == (b"", None, 0, ())
    write_png(tmp_path / "b.png", photo.pixels, photo)
    with Image.open(tmp_path / "b.png") as image:
        assert image.info == {}


@pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 1), (-1, 300), (1e9, 1e9), ("a", 1), None, (300,), (1, 0)])
def test_a_resolution_that_is_none_is_left(monkeypatch, tmp_path, dpi):
    Image.fromarray(noise(6, 6, 3)).save(tmp_path / "a.png")
    plain = PngImagePlugin.PngImageFile.load_end
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", lambda i: (plain(i), i.info.update(dpi=dpi))[0])
    assert read_photo(tmp_path / "a.png").dpi is None


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"]
)
def test_what_is_no_named_format_starts_no_program(tmp_path, monkeypatch, content):
    (tmp_path / "photo.jpg").write_bytes(content)
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **_: pytest.fail(f"started {a}"))
    with pytest.raises(DefianError, match="found none of them in it"):
        read_image(tmp_path / "photo.jpg")


@pytest.mark.parametrize("kind", decoding.FORMATS)
def test_every_named_format_is_read(tmp_path, kind):
    if kind not in Image.SAVE:
        Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    suffix = next(each for each, name in sorted(Image.registered_extensions().items()) if name == kind)
    assert suffix in SUFFIXES
    pixels = np.full((32, 40, 3), (200, 120, 40), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", kind)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - pixels).max() <= 6
    [job] = plan_jobs([tmp_path], tmp_path / "sr")
    assert job.source.suffix == suffix


@pytest.mark.parametrize("suffix", ["ico", "icns", "psd", "pcx", "tga", "dds", "sgi"])
def test_a_format_that_is_not_named_is_refused(tmp_path, suffix):
    Image.init()
    content = io.BytesIO()
    kind = Image.EXTENSION.get(f".{suffix}", "")
    if kind in Image.SAVE:
        Image.fromarray(noise(32, 32, 3)).save(content, kind)
    (tmp_path / "a.png").write_bytes(content.getvalue() or b"8BPS\0\1")
    with pytest.raises(DefianError, match=r"expected one of JPEG, PNG, .*, found none of them"):
        read_image(tmp_path / "a.png")


def test_pillows_limit_is_not_ours_and_stays_what_it_was(tmp_path, monkeypatch):
    Image.fromarray(noise(6, 8, 3)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert read_image(tmp_path / "a.png").shape == (6, 8, 3)
    assert Image.MAX_IMAGE_PIXELS == 10
    monkeypatch.setattr(decoding, "MOST_PIXELS", 47)
    with pytest.raises(DefianError, match=r"expected at most 0 megapixels, found 8x6"):
        read_image(tmp_path / "a.png")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    values = np.zeros((1, 1, 3), np.uint16)
    content = bytearray(png16(tmp_path / "a.png", values).read_bytes())
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DefianError, match=r"expected at most 537 megapixels, found 60000x60000, 3600"):
        read_image(tmp_path / "a.png")


def test_frames_of_what_cannot_be_written_again_are_told(tmp_path, capsys):
    first, *rest = (Image.fromarray(noise(16, 16, 3, seed=seed)) for seed in range(4))
    try:
        first.save(tmp_path / "a.avif", "AVIF", save_all=True, append_images=rest)
    except (KeyError, OSError):
        pytest.skip("Pillow knows no AVIF here")
    assert read_photo(tmp_path / "a.avif").left_out == 3
    jobs = plan_jobs([tmp_path / "a.avif"], tmp_path / "sr")
    Batch(Enlarger(), Resume(tmp_path / "sr", {}), tmp_path / "sr").run(jobs)
    assert "3 of 4 pages or frames left out" in capsys.readouterr().err
