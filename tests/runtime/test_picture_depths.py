"""Depths and layouts that Pillow reads to other values than the file holds: read rightly, refused, or told."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageCms

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import opened_series, read_image, read_photo
from defian_edge.runtime.jpeg2000 import jpeg2000_bits, jpeg2000_profile
from tests.conftest import SHARED, noise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def rounded(values: np.ndarray, bits: int) -> NDArray[np.uint8]:
    return np.floor(values.astype(np.int64) * 255 / ((1 << bits) - 1) + 0.5).astype(np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_of_16_bits_in_planes_is_refused_and_one_of_8_is_read(tmp_path, order, compression):
    tifffile = pytest.importorskip("tifffile")
    for kind in (np.uint8, np.uint16):
        planes = np.random.default_rng(0).integers(0, 256, (3, 20, 24)).astype(kind)
        tifffile.imwrite(
            tmp_path / f"{planes.itemsize}.tif",
            planes,
            photometric="rgb",
            planarconfig="separate",
            byteorder=order,
            compression=compression,
        )
        if kind == np.uint8:
            assert np.array_equal(read_image(tmp_path / "1.tif"), planes.transpose(1, 2, 0))
        else:
            with pytest.raises(DefianError, match="side by side, found planes of 16 bits"):
                read_image(tmp_path / "2.tif")


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_a_tiff_of_signed_numbers_is_refused(tmp_path, kind):
    tifffile = pytest.importorskip("tifffile")
    values = noise(12, 14).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
    with pytest.raises(DefianError, match="found signed numbers"):
        read_image(tmp_path / "a.tif")


def jpeg2000(path: Path, values: np.ndarray, bits: int) -> Path:
    """A file without loss by FFmpeg's encoder: values [H, W] or [H, W, 3] of 8, 10, 12 or 16 bits."""
    av = pytest.importorskip("av")
    colour = values.ndim == 3
    name = {(False, 8): "gray", (True, 8): "rgb24", (True, 16): "rgb48le"}.get((colour, bits), f"gray{bits}le")
    height, width = values.shape[:2]
    context = av.CodecContext.create("jpeg2000", "w")
    context.width, context.height, context.pix_fmt = width, height, name
    context.time_base, context.options = Fraction(1, 25), {"format": "jp2", "pred": "dwt53"}
    frame = av.VideoFrame(width, height, name)
    [plane] = frame.planes
    rows = np.zeros((height, plane.line_size), np.uint8)
    packed = np.ascontiguousarray(values.astype("<u2" if bits > 8 else "u1")).view(np.uint8).reshape(height, -1)
    rows[:, : packed.shape[1]] = packed
    plane.update(rows.tobytes())
    frame.pts = 0
    path.write_bytes(b"".join(bytes(each) for each in [*context.encode(frame), *context.encode(None)]))
    return path


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_grey_jpeg_2000_of_any_depth_has_its_own_white(tmp_path, bits):
    white = (1 << bits) - 1
    values = np.linspace(0, white, 40 * 64).round().astype(np.uint16).reshape(40, 64)
    path = jpeg2000(tmp_path / "a.jp2", values, bits)
    assert jpeg2000_bits(path) == bits
    assert np.array_equal(read_image(path)[..., 0], rounded(values, bits))


def test_a_jpeg_2000_whose_white_pillow_makes_black_is_refused(tmp_path):
    values = np.full((32, 40, 3), 65535)
    with pytest.raises(DefianError, match="expected 8 bits a channel in a JPEG 2000 of mode RGB, found 16"):
        read_image(jpeg2000(tmp_path / "a.jp2", values, 16))
    assert np.array_equal(read_image(jpeg2000(tmp_path / "b.jp2", values >> 8, 8)), values >> 8)


def with_profile(plain: bytes, profile: bytes, method: int) -> bytes:
    """A JP2 file whose ``colr`` box holds an ICC profile."""
    place = plain.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", plain, place)
    colours = bytes([method, 0, 0]) + profile
    box = struct.pack(">I", 8 + len(colours)) + b"colr" + colours
    header = plain.index(b"jp2h") - 4
    (before,) = struct.unpack_from(">I", plain, header)
    changed = struct.pack(">I", before + len(box) - length)
    return plain[:header] + changed + plain[header + 4 : place] + box + plain[place + length :]


@pytest.mark.parametrize("method", [2, 3])
def test_a_jpeg_2000_has_the_colours_of_its_profile(tmp_path, method):
    """Which Pillow does not read: the profile here takes red for blue."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tXYZ").replace(b"bXYZ", b"rXYZ").replace(b"tXYZ", b"bXYZ")
    pixels = noise(20, 24, 3)
    Image.fromarray(pixels).save(tmp_path / "plain.jp2", irreversible=False)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=swapped)
    plain = (tmp_path / "plain.jp2").read_bytes()
    assert np.array_equal(read_image(tmp_path / "plain.jp2"), pixels)
    for profile, expected in ((swapped, read_image(tmp_path / "a.png")), (srgb, pixels)):
        (tmp_path / "a.jp2").write_bytes(with_profile(plain, profile, method))
        photo = read_photo(tmp_path / "a.jp2")
        assert np.array_equal(photo.pixels, expected)
        assert photo.remarks == ()
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - pixels).mean() > 40


def box(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """A box; a length of 1 says that it follows in eight bytes, 0 that the box goes to the end."""
    whole = 8 + len(content) if length is None else length
    long = struct.pack(">Q", 16 + len(content)) if length == 1 else b""
    return struct.pack(">I", whole) + kind + long + content


PROFILE = b"\2\0\0profile"


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        ([box(b"jp2h", box(b"colr", PROFILE)), b"\n"], b"profile"),
        ([box(b"jp2h", box(b"colr", PROFILE, 1), 1)], b"profile"),
        ([box(b"jp2h", box(b"colr", PROFILE), 0)], b"profile"),
        ([box(b"jp2h", box(b"ihdr", b"") + box(b"colr", b"\1\0\0\0\0\0\x10") + box(b"colr", PROFILE))], b""),
        ([box(b"jp2h", box(b"colr", b""))], b""),
        ([box(b"jp2c", b"", 0), box(b"jp2h", box(b"colr", PROFILE))], b""),
        ([box(b"jp2c", b""), b"\n"], b""),
    ],
    ids=["and a stray byte", "long boxes", "to the end", "the first counts", "empty", "none", "a codestream and more"],
)
def test_the_profile_of_a_jpeg_2000_is_that_of_its_first_box_for_colours(tmp_path, boxes, found):
    (tmp_path / "a.jp2").write_bytes(b"".join([box(b"jP  ", b"\r\n\x87\n"), *boxes]))
    assert jpeg2000_profile(tmp_path / "a.jp2") == found


@pytest.mark.parametrize(
    ("content", "wrong"),
    [(box(b"free", b"", 7), "shorter than its head"), (box(b"free", b"") * 1001, "more than 1000 boxes")],
)
def test_boxes_of_a_jpeg_2000_that_make_no_sense_are_damage(tmp_path, content, wrong):
    (tmp_path / "a.jp2").write_bytes(content)
    with pytest.raises(ValueError, match=wrong):
        jpeg2000_profile(tmp_path / "a.jp2")


def test_a_jpeg_2000_with_stray_bytes_at_its_end_is_read(tmp_path):
    Image.fromarray(noise(20, 24, 3)).save(tmp_path / "a.jp2", irreversible=False)
    with (tmp_path / "a.jp2").open("ab") as stream:
        stream.write(b"\0\0\n")
    assert np.array_equal(read_image(tmp_path / "a.jp2"), noise(20, 24, 3))


def test_the_depth_is_found_in_a_bare_codestream_and_damage_is_told(tmp_path):
    whole = jpeg2000(tmp_path / "a.jp2", np.zeros((32, 40)), 8).read_bytes()
    bare = tmp_path / "a.j2k"
    start = whole.index(b"\xff\x4f\xff\x51")
    bare.write_bytes(whole[start:])
    assert jpeg2000_bits(bare) == 8
    for length in range(start + 43):  # the sizes of one component are 43 bytes
        bare.write_bytes(whole[:length])
        with pytest.raises((ValueError, struct.error)):
            jpeg2000_bits(bare)


def animated_png(path: Path, frames: list[np.ndarray]) -> Path:
    """An APNG of 16-bit RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = frames[0].shape
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    content += chunk(b"acTL", struct.pack(">II", len(frames), 0))
    for index, frame in enumerate(frames):
        number = max(0, 2 * index - 1)
        content += chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, 1, 10, 0, 0))
        data = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in frame))
        content += chunk(b"fdAT", struct.pack(">I", number + 1) + data) if index else chunk(b"IDAT", data)
    path.write_bytes(content + chunk(b"IEND", b""))
    return path


def test_an_animation_of_16_bits_tells_that_it_is_truncated(tmp_path):
    frames = [np.random.default_rng(seed).integers(0, 65536, (9, 11, 3)) for seed in range(3)]
    with opened_series(animated_png(tmp_path / "a.png", frames)) as series:
        for (photo, _), frame in zip(series.frames, frames, strict=True):
            assert np.array_equal(photo.pixels, frame >> 8)
            assert photo.remarks == ("of its 16 bits a channel the upper 8 are taken, as it is animated",)


def test_a_date_of_exposure_that_stands_beside_the_camera_is_kept(tmp_path):
    block = Image.Exif()
    block[0x010F], block[0x9003], block[0x9011], block[0x9291] = "Maker", "2024:11:26 12:30:00", "+01:00", "42"
    block[0x0112], block[0x9201] = 1, 3
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.jpg", exif=block)
    kept = Image.Exif()
    kept.load(read_photo(tmp_path / "a.jpg").exif)
    assert dict(kept) == {0x010F: "Maker", 0x9003: "2024:11:26 12:30:00", 0x9011: "+01:00", 0x9291: "42"}


def test_the_photo_of_the_small_inputs_keeps_its_date():
    source = SHARED / "cases" / "exif" / "p.jpg"
    if not source.is_file():
        pytest.skip(f"no {source}")
    kept = Image.Exif()
    kept.load(read_photo(source).exif)
    assert dict(kept) == {0x010F: "Canon", 0x9003: "2020:01:02 03:04:05"}
