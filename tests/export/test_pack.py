"""The reference pack: what is in it, how large it is, that it is the same every time, and that only it is read."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2ycbcr

from defian_edge.calibration.photos import EvaluationPair, evaluation_pairs, fitted
from defian_edge.export.options import ExportOptions
from defian_edge.export.pack.write import make_pack
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.reference import reference_outputs
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.verify import figures
from defian_edge.runtime.verify.pack import read_pack
from defian_edge.runtime.verify.promise import pack_of, promise_of
from tests.conftest import noise, random_checkpoint, tiny

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = ShapeProfile.parse("1x8x8,1x32x32,2x64x64")


def enlarged(lr: np.ndarray) -> np.ndarray:
    """A network that is quick: every pixel four times."""
    return lr.repeat(2, axis=0).repeat(2, axis=1)


def made(pairs=None, profile=PROFILE, megabytes=8.0):
    checkpoint = random_checkpoint(tiny())
    return make_pack(checkpoint, pairs or evaluation_pairs(2), profile, enlarged, megabytes)


@pytest.fixture
def packed(tmp_path) -> Path:
    path = tmp_path / "pack.zip"
    path.write_bytes(made().content)
    return path


@pytest.mark.parametrize("border", [0, 2, 4])
def test_the_runtimes_luma_is_scikit_images_to_the_last_digit(border):
    for seed, shape in enumerate([(33, 47, 3), (64, 80, 3), (120, 9, 3)]):
        image, other = noise(*shape, seed=seed), noise(*shape, seed=seed + 9)
        near = np.clip(image.astype(int) + (other > 250), 0, 255).astype(np.uint8)
        inner = (slice(border, shape[0] - border), slice(border, shape[1] - border))
        for each in (image, other, near):
            assert np.array_equal(figures.luma(each, border), rgb2ycbcr(each)[..., 0][inner])


def test_a_pack_has_photos_hard_pictures_and_tiles_in_sizes_that_the_profile_takes(packed):
    pack = read_pack(packed)
    assert [each.name for each in pack.pictures] == [
        *("astronaut, small", "black", "white", "checkerboard", "one bright pixel", "saturated noise", "gradient"),
        *("astronaut, in tiles of 64x64", "astronaut", "chelsea"),
    ]
    for packed_picture in pack.pictures:
        picture = pack.load(packed_picture)
        height, width = picture.lr.shape[:2]
        if picture.tiling is None:
            assert PROFILE.contains((1, height, width))
            assert np.array_equal(picture.reference, enlarged(picture.lr))
        else:
            assert (height, width) == (96, 80)
        assert (picture.original is not None) == (picture.kind == "photo" and picture.tiling is None)
    licences = {each.name: each.licence for each in pack.pictures}
    assert "NASA" in licences["astronaut"]
    assert "CC0" in licences["chelsea"]
    assert "hard_images.py" in licences["checkerboard"]
    assert pack.first == "astronaut, small"


def test_the_same_pictures_give_the_same_bytes_and_the_name_holds_their_hash():
    first, second = made(), made()
    assert first.content == second.content
    assert hashlib.sha256(first.content).hexdigest() == first.sha256
    assert first.name == f"random-16-1-2-x2.{first.sha256[:8]}.reference.zip"
    assert made(evaluation_pairs(2)[:1]).name != first.name


@pytest.mark.parametrize(("megabytes", "left_out"), [(8.0, 0), (2.0, 0), (0.6, 22)])
def test_a_pack_is_never_larger_than_it_may_be_and_says_what_it_left_out(megabytes, left_out):
    pairs = [
        EvaluationPair(str(index), noise(90, 110, 3, seed=index), noise(180, 220, 3, seed=index)) for index in range(30)
    ]
    wide = ShapeProfile.parse("1x8x8,1x32x32,2x512x512")
    pack = made(pairs, wide, megabytes)
    assert len(pack.content) <= megabytes * 1e6
    assert pack.left_out == pytest.approx(left_out, abs=4)
    photos = [each for each in pack.pictures if each.name.isdigit()]
    assert len(photos) + pack.left_out == 30
    assert len({each.lr.shape for each in photos}) == 1
    assert len(pack.content) > 0.6 * megabytes * 1e6 or megabytes == 8.0


def test_a_size_that_takes_no_pack_is_refused_with_one_that_does():
    with pytest.raises(DefianError, match="small pictures") as raised:
        made(megabytes=0.05)
    assert "Give --reference-size 0." in raised.value.hint
    with pytest.raises(DefianError, match="--reference-size from 0"):
        ExportOptions(out=None, reference_size=-1.0)  # pyright: ignore[reportArgumentType]


def test_a_picture_is_cut_in_its_middle_and_mirrored_where_the_profile_takes_no_smaller_one():
    lr = noise(6, 20, 3)
    pair = EvaluationPair("x", lr, enlarged(lr))
    cut = fitted(pair, (8, 8), (64, 10), 2)
    assert cut.lr.shape == (8, 10, 3)
    assert np.array_equal(cut.lr[:6], lr[:, 5:15])
    assert np.array_equal(cut.lr[6:], lr[:3:-1, 5:15])
    assert np.array_equal(cut.hr, enlarged(cut.lr))


def test_photos_that_are_called_as_the_packs_own_pictures_get_another_name():
    pair = EvaluationPair("black", noise(20, 24, 3), noise(40, 48, 3))
    names = [each.name for each in made([pair]).pictures]
    assert "black (photo)" in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("keep", [0, 1, 100, 5000, -1, -30, -200])
def test_a_truncated_pack_is_refused(packed, keep):
    packed.write_bytes(packed.read_bytes()[:keep])
    with pytest.raises(DefianError, match=r"truncated, damaged|has been changed"):
        read_pack(packed)


def rewritten(path: Path, change, *, sign: bool = True) -> None:
    """Change the files of a pack, and with ``sign`` the hash of its header."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    header = json.loads(files["pack.json"])
    change(header, files)
    files["pack.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = hashlib.sha256(files["pack.json"]).hexdigest().encode() if sign else comment
        for name, content in files.items():
            archive.writestr(name, content)


def another_picture(_: dict, files: dict) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(buffer, format="PNG")
    files["000.lr.png"] = buffer.getvalue()


def another_size(header: dict, files: dict) -> None:
    another_picture(header, files)
    header["pictures"][0]["size"] = [64, 32]
    header["files"]["000.lr.png"] = hashlib.sha256(files["000.lr.png"]).hexdigest()


def no_png(header: dict, files: dict) -> None:
    files["000.lr.png"] = b"GIF89a"
    header["files"]["000.lr.png"] = hashlib.sha256(b"GIF89a").hexdigest()


CHANGES = {
    "a picture": (another_picture, True, "000.lr.png has been changed since"),
    "the header": (lambda header, _: header.update(model="other"), False, "pack.json has been changed since"),
    "a file more": (lambda _, files: files.update({"more": b""}), True, "other files than it names: .'more'"),
    "a file less": (lambda _, files: files.pop("000.lr.png"), True, "other files than it names"),
    "the schema": (lambda header, _: header.update(schema=2), True, "expected a reference pack of schema 1, found 2"),
    "the scale": (lambda header, _: header.update(scale=7), True, "scale is 7"),
    "a kind": (lambda header, _: header["pictures"][0].update(kind="film"), True, "kind is 'film'"),
    "a size": (lambda header, _: header["pictures"][0].update(size=[1 << 20, 1 << 20]), True, "size is"),
    "a name": (lambda header, _: header["pictures"][0].update(name="black"), True, "two pictures of one name"),
    "the first": (lambda header, _: header.update(first="none"), True, "no picture to begin with"),
    "a tiling": (lambda header, _: header["pictures"][0].update(tiling=[1.5, 2, 0]), True, "expected a whole number"),
    "a part": (lambda header, _: header.pop("pictures"), True, "no reference pack .KeyError: 'pictures'"),
    "all of it": (lambda header, _: header.clear(), True, "no reference pack .KeyError: 'schema'"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_pack_is_refused(packed, case):
    change, sign, message = CHANGES[case]
    rewritten(packed, change, sign=sign)
    with pytest.raises(DefianError, match=message):
        read_pack(packed)


@pytest.mark.parametrize(
    ("change", "message"), [(another_size, "as RGB of 64x128, found RGB of 128x128"), (no_png, "cannot be decoded")]
)
def test_a_picture_that_is_not_what_the_pack_says_is_refused_when_it_is_loaded(packed, change, message):
    rewritten(packed, change)
    pack = read_pack(packed)
    with pytest.raises(DefianError, match=message):
        pack.load(pack.pictures[0])


def test_a_compressed_archive_and_a_missing_file_are_refused(packed, tmp_path):
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pack.json", "x" * 100_000)
    with pytest.raises(DefianError, match="compressed"):
        read_pack(packed)
    with pytest.raises(DefianError, match="No reference pack can be read at"):
        read_pack(tmp_path / "none.zip")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """Graphs of a tiny checkpoint and their pack, on photos that are packed whole."""
    folder = tmp_path_factory.mktemp("exported")
    photos = folder / "photos"
    photos.mkdir()
    for index in range(2):
        Image.fromarray(noise(70, 80, 3, seed=index)).save(photos / f"{index}.png")
    torch.save({"state_dict": random_checkpoint(tiny()).state}, folder / "tiny.pth")
    options = ExportOptions(
        out=folder,
        precisions=(Precision.FP32, Precision.FP16),
        dataset=photos,
        profile=PROFILE,
        rewrite_memory=False,
    )
    result = run_export(folder / "tiny.pth", options)
    assert result.pack is not None
    return folder


def test_the_promise_is_the_drift_of_the_manifest_to_the_last_digit(exported):
    """Of photos that are packed whole; both were computed by the same graphs on the same backend."""
    for precision in ("fp32", "fp16"):
        manifest = read_manifest(exported / f"tiny.{precision}.onnx")
        promise = promise_of(manifest)
        assert promise is not None
        assert len(manifest.drift["images"]) == 2
        for image in manifest.drift["images"]:
            promised = promise.figures[image["name"]]
            assert promised.psnr_y == image["psnr"]
            assert promised.reference_psnr_y == image["reference_psnr"]
            assert promised.drift == image["drift"]
            assert promised.psnr_to_reference == (image["psnr_to_reference"] or math.inf)


def test_an_export_of_another_precision_leaves_the_pack_and_what_refers_to_it_alone(exported):
    [before] = exported.glob("*.reference.zip")
    content = before.read_bytes()
    options = ExportOptions(
        out=exported,
        precisions=(Precision.FP32,),
        plain=True,
        dataset=exported / "photos",
        profile=PROFILE,
        rewrite_memory=False,
    )
    run_export(exported / "tiny.pth", options)
    assert list(exported.glob("*.reference.zip")) == [before]
    assert before.read_bytes() == content
    for name in ("tiny.fp16.onnx", "tiny.plain.fp32.onnx"):
        pack, promised = pack_of(exported / name, read_manifest(exported / name))
        assert set(promised) == {each.name for each in pack.pictures}
    run_export(exported / "tiny.pth", replace(options, out=exported / "without", reference_size=0.0))
    assert not list((exported / "without").glob("*.zip"))
    assert read_manifest(exported / "without" / "tiny.plain.fp32.onnx").reference == {}


def test_the_reference_is_pytorchs_own_picture(exported):
    from defian_edge.models.checkpoint import load_checkpoint

    [path] = exported.glob("*.reference.zip")
    pack, network = read_pack(path), load_checkpoint(exported / "tiny.pth").network()
    for packed_picture in pack.pictures:
        picture = pack.load(packed_picture)
        if picture.tiling is None:
            assert np.array_equal(picture.reference, reference_outputs(network, [picture.lr])[0])


def test_a_pack_of_another_checkpoint_or_scale_or_hash_is_refused(exported, packed):
    graph = exported / "tiny.fp32.onnx"
    manifest = read_manifest(graph)
    with pytest.raises(DefianError, match=r"a reference of another checkpoint than tiny\.fp32\.onnx"):
        pack_of(graph, manifest, packed)
    rewritten(packed, lambda header, _: header.update(scale=3))
    with pytest.raises(DefianError, match=r"another scale than tiny\.fp32\.onnx: expected 2, found 3"):
        pack_of(graph, manifest, packed)
    other = replace(manifest, reference=manifest.reference | {"sha256": "1" * 64})
    with pytest.raises(DefianError, match="not the reference pack that the manifest names: expected SHA-256 1111"):
        pack_of(graph, other)
    with pytest.raises(DefianError, match="names no reference pack"):
        pack_of(graph, replace(manifest, reference={}))
    with pytest.raises(DefianError, match="of its reference pack what cannot be read"):
        pack_of(graph, replace(manifest, reference={"file": "../x", "sha256": "", "promised": {}}))
