"""Networks that are no DeFiAN from the file to engines, runtime and benchmark."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import defian_edge as de
from defian_edge.benchmark.candidates import open_candidates
from defian_edge.benchmark.measure.quality import measure_quality
from defian_edge.export.engine.compiler import is_available
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.source.picture import Channels, PictureFormat
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import DEFAULT_PROFILE
from tests.conftest import noise
from tests.export.given_graphs import gentle, small, written
from tools.architectures import ARCHITECTURES, LUMA_ALONE, random_network
from tools.brief_training import train_briefly

FLOATS = (Precision.FP32, Precision.FP16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos, and a graph for pictures from -1 to 1 of 24x32 pixels alone."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "photos").mkdir()
    Image.fromarray(noise(96, 80, 3)).save(folder / "photos" / "large.png")
    Image.fromarray(noise(40, 30, 3, seed=1)).save(folder / "photos" / "tiny.png")
    written(small(shape=(1, 3, 24, 32)), folder / "fixed.onnx")
    written(small(3), folder / "free.onnx")
    return folder


@pytest.fixture(scope="module")
def fixed(folder):
    picture = PictureFormat("-1..1")
    options = ExportOptions(folder / "out", FLOATS, picture, dataset=folder / "photos", rewrite_memory=False)
    return run_export(folder / "fixed.onnx", options)


def test_a_fixed_size_is_the_profile_and_photos_are_cut_to_it(fixed, folder):
    assert fixed.passed
    assert str(fixed.profile) == "1x24x32,1x24x32,1x24x32"
    assert fixed.drift["fp32"].unrounded_to_reference > 100
    assert 55 < fixed.drift["fp16"].unrounded_to_reference < 100
    manifest = de.read_manifest(folder / "out" / "fixed.fp16.onnx")
    assert str(manifest.profile) == "1x24x32,1x24x32,1x24x32"
    assert manifest.scale == 2
    assert manifest.reach == {"whole_image": False, "pixels": 2}
    assert manifest.source["picture"]["input_range"] == "-1..1"
    assert all(verdict.passed for verdict in de.verify([folder / "out" / "fixed.fp32.onnx"]))


def test_larger_pictures_go_in_tiles_of_the_fixed_size(fixed, folder):
    path = folder / "out" / "fixed.fp32.onnx"
    assert path in fixed.files
    image = noise(50, 70, 3)
    with de.open_session(path) as session, de.TiledSession(session, de.Tiling(24, 32, 8), always=False) as tiled:
        upscaled = tiled(image[None])[0]
        with pytest.raises(DefianError, match="takes pictures of 24x32 alone, found 50x70"):
            session(image[None])
    free = run_export(
        written(small(), folder / "whole.onnx"),
        ExportOptions(
            folder / "whole", (Precision.FP32,), PictureFormat("-1..1"), dataset=folder / "photos",
            rewrite_memory=False, reference_size=0.0,
        ),
    )  # fmt: skip
    with de.open_session(free.files[0]) as session:
        # a pixel is seen two pixels away, and the tiles overlap by four times that
        assert np.abs(upscaled.astype(int) - session(image[None])[0]).max() <= 1


def test_the_benchmark_finds_out_from_the_manifest_how_the_reference_is_run(fixed, folder):
    from contextlib import ExitStack

    assert fixed.passed
    pairs = [de.EvaluationPair("one", noise(24, 32, 3), noise(48, 64, 3))]
    with ExitStack() as stack:
        candidates = open_candidates([str(folder / "out" / "fixed.fp32.onnx")], "cpu", stack)
        quality = measure_quality(candidates, pairs, str(folder / "fixed.onnx"), "cpu")
        report = quality["fixed.fp32.onnx"].report
        assert report.unrounded_to_reference > 120
        with pytest.raises(DefianError, match="not at hand"):
            measure_quality(candidates, pairs, None, "cpu")


def test_so_does_measuring_drift_from_python(fixed, folder):
    path = folder / "out" / "fixed.fp16.onnx"
    assert path in fixed.files
    pairs = [de.EvaluationPair("one", noise(24, 32, 3), noise(48, 64, 3))]
    report = de.measure_drift(path, folder / "fixed.onnx", pairs)
    assert 55 < report.unrounded_to_reference < 100


def test_profiles_that_cannot_be_are_refused_before_anything_is_done(folder, tmp_path):
    def refused(name: str, message: str, **options) -> None:
        with pytest.raises(DefianError, match=message):
            run_export(folder / name, ExportOptions(tmp_path / "no", dataset=folder / "photos", **options))
        assert not (tmp_path / "no").exists()

    wrong = de.ShapeProfile.parse("1x24x32,1x24x32,1x24x64")
    refused("fixed.onnx", "takes width 32 alone, found 64", precisions=FLOATS, profile=wrong)


@pytest.mark.parametrize("shape", [(1, 3, 24, 32), (1, 3, 64, 24), ("n", 3, 56, "w")])
def test_int8_of_one_size_is_calibrated_on_patches_of_that_size(shape, folder, tmp_path):
    """One photo is smaller than any of them, and mirrored; what is drawn is cut."""
    written(gentle(shape), tmp_path / "one.onnx")
    options = ExportOptions(
        tmp_path / "out", (Precision.FP32, Precision.INT8), calibration=folder / "photos", patches=4,
        dataset=folder / "photos", max_drift=0.25, rewrite_memory=False, reference_size=0.0,
        profile=de.ShapeProfile.parse(DEFAULT_PROFILE if isinstance(shape[3], int) else "1x56x16,1x56x32,1x56x64"),
    )  # fmt: skip
    result = run_export(tmp_path / "one.onnx", options)
    assert result.passed, result.verdicts
    assert 35 < result.drift["int8"].unrounded_to_reference < 90
    int8 = next(each for each in result.artefacts if each.variant.precision is Precision.INT8)
    assert int8.shares.macs["int8"] > 0.3
    assert int8.variant.calibration["patch_size"] == [shape[2], shape[3] if isinstance(shape[3], int) else 96]


def test_the_command_line_takes_any_graph_and_says_what_it_found(folder, tmp_path, monkeypatch, capsys):
    from defian_edge.export.command import main

    arguments = [
        "--model", folder / "free.onnx", "--precision", "fp16", "--input-range", "0..255", "--channel-order", "bgr",
        "--mean", "1,2,3", "--std", "2,2,2", "--scale", 3, "--dataset", folder / "photos", "--max-drift", 0.5,
        "--out", tmp_path, "--no-rewrite-memory",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["export.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert not ended.value.code, said
    assert "free: ONNX graph x3, BGR in 0..255, mean 1, 2, 3, std 2, 2, 2" in said
    assert "A pixel depends on 2 pixels around it" in said
    assert "against the ONNX Runtime FP32 reference" in said
    manifest = json.loads((tmp_path / "free.fp16.onnx.json").read_text())
    assert manifest["source"]["picture"]["mean"] == [1.0, 2.0, 3.0]


BY_PLACE = frozenset({"SAFMN", "SwinIR", "restoration x1"})
"""Those that do not treat all places alike: tiles make another picture of them, wherever they begin elsewhere."""
WITHOUT_INT8 = {"FSRCNN (luma)": "fewer than 12 channels on one side"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos, for calibration and drift alike."""
    folder = tmp_path_factory.mktemp("photos")
    for name in ("one", "two"):
        Image.fromarray(noise(96, 96, 3, seed=len(name) + ord(name[0]))).save(folder / f"{name}.png")
    return folder


@pytest.mark.filterwarnings("ignore::defian_edge.runtime.guard.SuspiciousFrameWarning")  # random weights may give black
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_precision_of_every_architecture_passes_the_gate_and_runs_in_tiles(name, photos, tmp_path):
    """INT8 finds its places by structure; BF16 needs nothing kept for its range."""
    picture = PictureFormat(channels=Channels.Y if name in LUMA_ALONE else Channels.RGB)
    options = ExportOptions(
        tmp_path, tuple(Precision), picture, calibration=photos, patches=2, dataset=photos, max_drift=0.25,
        profile=de.ShapeProfile.parse("1x8x8,1x24x32,1x40x48"), rewrite_memory=False, reference_size=0.0,
    )  # fmt: skip
    result = run_export(random_network(name), options)
    refused = {each: verdict.reasons for each, verdict in result.verdicts.items() if not verdict.passed}
    unrounded = {each: report.unrounded_to_reference for each, report in result.drift.items()}
    assert unrounded["fp32"] > 100
    assert unrounded["fp32"] > unrounded["fp16"] > 60
    assert unrounded["bf16"] > 50
    shares = {each.variant.precision: each.shares.macs for each in result.artefacts}
    if name in WITHOUT_INT8:
        assert list(refused) == ["int8"]
        assert WITHOUT_INT8[name] in refused["int8"][0]
    else:
        assert refused == {}
        assert unrounded["fp16"] > unrounded["int8"] > 40
        assert shares[Precision.INT8]["int8"] > 0.35
    assert shares[Precision.BF16]["bf16"] > 0.25
    lr, depth = noise(70, 50, 3), 16 * result.network.scale
    with de.open_session(tmp_path / f"{result.network.name}.fp16.onnx") as session:
        whole = session(lr[None])[0].astype(int)
        with de.TiledSession(session, de.Tiling(48, 48, 16)) as tiled:
            difference = np.abs(tiled(lr[None])[0] - whole)
    assert difference[:depth, :depth].max() <= 1  # in the first tile, far from where it ends
    assert (difference.max() <= 1) == (name not in BY_PLACE)


@pytest.mark.filterwarnings("ignore::defian_edge.runtime.guard.SuspiciousFrameWarning")
@pytest.mark.parametrize("name", ["Compact", "SPAN", "SAFMN"])
def test_every_precision_of_a_network_that_was_trained_keeps_its_drift_on_photos(name, tmp_path):
    """120 steps: what it gives is a picture then, and drift a loss that one could see."""
    network = train_briefly(random_network(name), PictureFormat(), 2, 120)
    options = ExportOptions(
        tmp_path, tuple(Precision), patches=6, max_drift=0.1, rewrite_memory=False, reference_size=0.0,
        profile=de.ShapeProfile.parse("1x8x8,1x24x32,1x40x48"),
    )  # fmt: skip
    result = run_export(network, options)
    assert all(verdict.passed for verdict in result.verdicts.values()), result.verdicts
    assert result.drift["fp32"].mean_psnr > 24.0
    assert result.drift["int8"].unrounded_to_reference > 40.0


@pytest.mark.skipif(not is_available(de.Target.TENSORRT_RTX), reason="no TensorRT-RTX")
@pytest.mark.parametrize("name", ["fixed", "free"])
def test_engines_are_built_of_fixed_and_free_sizes(name, folder, tmp_path):
    options = ExportOptions(
        tmp_path, (Precision.FP16,), target=de.Target.TENSORRT_RTX, sm=89, dataset=folder / "photos",
        rewrite_memory=False, reference_size=0.0,
    )  # fmt: skip
    if name == "free":
        options = replace(options, profile=de.ShapeProfile.parse("1x8x8,1x24x32,2x40x48"))
    result = run_export(folder / f"{name}.onnx", options)
    assert result.passed
    manifest = de.read_manifest(tmp_path / f"{name}.fp16.tensorrt-rtx.engine")
    assert manifest.profile == result.profile
    assert manifest.engine is not None
    assert manifest.engine.activation_bytes
