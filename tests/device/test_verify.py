"""``python -m runtime verify`` on the stand-in driver: engines with planted faults are caught, and named."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from defian_edge.runtime.command import main
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import read_image
from defian_edge.runtime.manifest import manifest_path
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.tiles import TiledSession
from defian_edge.runtime.verify.budget import Budget
from defian_edge.runtime.verify.run import Verdict, verify
from tests.device.engines import write_engine
from tests.device.packs import engine_with_pack, write_pack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.doubles.tensorrt_module import TensorRt

pytestmark = pytest.mark.usefixtures("trt")


@pytest.fixture
def engine(tmp_path, reference) -> Path:
    return engine_with_pack(tmp_path, reference)


def only(artefact: Path, **options: Any) -> Verdict:  # noqa: ANN401
    [verdict] = verify([artefact], **options)
    assert verdict.error == ""
    return verdict


def failures(verdict: Verdict) -> set[tuple[str, str]]:
    """(picture, way) of everything that is wrong."""
    return {(each.picture.name, each.way) for each in verdict.failed}


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_that_is_right_passes_in_every_way(tmp_path, reference, flavour, monkeypatch):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))
    verdict = only(engine_with_pack(tmp_path, reference, flavour=flavour))
    assert verdict.passed
    ways = Counter(each.way for each in verdict.outcomes)
    pictures = len(verdict.pack.pictures)
    every = {"eager call 1", "call 1", "call 2", "call 3"}
    assert {way for way, count in ways.items() if count == pictures - 1} == every
    assert {way for way in ways if way not in every} == {
        *("image 1 of a batch of 2", "image 2 of a batch of 2", "frame 1", "frame 2", "frame 3", "tiles")
    }
    assert all(each.figures.largest_step == 0 for each in verdict.outcomes if "batch" not in each.way)
    assert flavour in verdict.backend
    assert verdict.notes == ()


def shifted(_: np.ndarray, result: np.ndarray) -> np.ndarray:
    return np.roll(result, 1, axis=2)


def swapped(_: np.ndarray, result: np.ndarray) -> np.ndarray:
    return result[..., ::-1]


def one_tile_wrong(_: np.ndarray, result: np.ndarray) -> np.ndarray:
    result[:, -16:, -16:] = 255 - result[:, -16:, -16:]
    return result


def one_channel_scaled(_: np.ndarray, result: np.ndarray) -> np.ndarray:
    result[..., 1] = np.clip(np.rint(result[..., 1] * 1.02), 0, 255)
    return result


def noisy(_: np.ndarray, result: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 255 * 10 ** (-50 / 20), result.shape[1:])
    return np.clip(np.rint(result + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (shifted, "shifted by 1 pixels to the right and 0 down"),
        (swapped, "channels swapped"),
        (one_tile_wrong, "wrong in one place"),
        (one_channel_scaled, "green scaled by 1.0"),
        (noisy, "noise of"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_fault_of_the_whole_engine_is_found_on_every_photo_and_named(trt: TensorRt, engine, fault, name):
    trt.faults.spoil = fault
    verdict = only(engine)
    photos = {each.name for each in verdict.pack.pictures if each.kind == "photo" and each.tiling is None}
    assert {picture for picture, way in failures(verdict) if way == "eager call 1"} >= photos
    named = [each.kind for each in verdict.failed if each.picture.name in photos]
    assert all(name in kind for kind in named), set(named)


def test_an_overflow_of_fp16_on_one_hard_image_is_found_there_and_nowhere_else(trt: TensorRt, engine):
    def overflowing(image: np.ndarray, result: np.ndarray) -> np.ndarray:
        for each, upscaled in zip(image, result, strict=True):
            if set(np.unique(each)) == {0, 255} and np.array_equal(each[0, ::2], each[2, ::2]) and each.mean() > 100:
                upscaled[20:40, 30:50] = 0
        return result

    trt.faults.spoil = overflowing
    verdict = only(engine)
    assert {picture for picture, _ in failures(verdict)} == {"checkerboard"}
    assert all("NaN or infinity in the network" in each.kind for each in verdict.failed)
    assert any("came out black at" in fault for each in verdict.failed for fault in each.faults)


def test_a_stale_cuda_graph_is_found_in_the_calls_that_replay_it(trt: TensorRt, engine):
    trt.faults.stale_captures = True
    verdict = only(engine)
    wrong = {way for _, way in failures(verdict)}
    assert "eager call 1" not in wrong
    assert {"call 2", "call 3"} <= wrong
    assert any(each.kind.startswith("stale: the result of another picture") for each in verdict.failed)


def test_an_engine_that_is_right_on_the_first_call_and_wrong_on_the_third_is_found(trt: TensorRt, engine):
    seen: Counter[bytes] = Counter()

    def tired(image: np.ndarray, result: np.ndarray) -> np.ndarray:
        seen[image.tobytes()] += 1
        return result if seen[image.tobytes()] < 4 else result // 2

    trt.faults.spoil = tired
    ways = {way for picture, way in failures(only(engine)) if picture == "astronaut"}
    assert "call 3" in ways
    assert ways.isdisjoint({"eager call 1", "call 1"})


def test_an_engine_that_is_wrong_for_the_second_image_of_a_batch_alone_is_found(trt: TensorRt, engine):
    def first_only(_: np.ndarray, result: np.ndarray) -> np.ndarray:
        result[1:] = noisy(_, result[1:])
        return result

    trt.faults.spoil = first_only
    assert {way for _, way in failures(only(engine))} == {"image 2 of a batch of 2"}


def test_a_wrong_tile_among_right_ones_is_found_though_single_calls_are_right(engine, monkeypatch):
    call = TiledSession.__call__

    def patched(session: TiledSession, images: np.ndarray) -> np.ndarray:
        result = call(session, images)
        result[:, :40, :40] = np.roll(result[:, :40, :40], 3, axis=1)
        return result

    monkeypatch.setattr(TiledSession, "__call__", patched)
    assert {way for _, way in failures(only(engine))} == {"tiles"}


def test_frames_that_come_in_another_order_are_found(engine, monkeypatch):
    stream = EngineSession.upscale_frames

    def late(session: EngineSession, frames: Any) -> Any:  # noqa: ANN401
        results = list(stream(session, frames))
        yield from (results[-1:] + results[:-1] if len(results) == 3 else results)

    monkeypatch.setattr(EngineSession, "upscale_frames", late)
    assert {way for _, way in failures(only(engine))} == {"frame 1", "frame 2", "frame 3"}


def test_capture_that_fails_is_told_and_is_no_fault(trt: TensorRt, engine):
    trt.faults.refused_captures = True
    verdict = only(engine)
    assert verdict.passed
    assert "CUDA graphs off: TensorRT failed" in verdict.backend


def test_an_engine_that_takes_no_single_image_is_checked_in_batches(tmp_path, reference):
    profile = ShapeProfile.parse("3x8x8,3x16x16,3x64x64")
    verdict = only(engine_with_pack(tmp_path, reference, profile=profile))
    assert verdict.passed
    assert "its profile takes no single image, so each ran 3 times in a batch" in verdict.notes[1]
    assert {each.way for each in verdict.outcomes} >= {"call 3", "image 3 of a batch of 3"}


def test_an_engine_of_a_smaller_profile_leaves_pictures_out_and_says_which(tmp_path, reference):
    pack = write_pack(tmp_path, reference)
    narrow = write_engine(tmp_path, profile=ShapeProfile.parse("1x4x4,1x16x16,1x40x48"))
    verdict = only(narrow, reference=tmp_path / pack.name)
    assert verdict.passed
    assert "outside of its profile and left out: astronaut, small, black" in verdict.notes[0]
    assert "its profile takes no batch" in verdict.notes[1]
    assert "nothing was promised" in verdict.notes[2]
    tiny = write_engine(tmp_path, profile=ShapeProfile.parse("1x4x4,1x5x5,1x6x6"))
    [verdict] = verify([tiny], tmp_path / pack.name)
    assert "none of the 10 pictures" in verdict.error


def test_budgets_refuse_what_the_promise_allows(engine, trt: TensorRt, tmp_path):
    assert only(engine, budget=Budget(drift=0.001, psnr_to_reference=80.0)).passed
    trt.faults.spoil = noisy
    pack = tmp_path / json.loads(manifest_path(engine).read_text())["reference"]["file"]
    unnamed = write_engine(tmp_path / "unnamed")
    assert only(unnamed, reference=pack).passed, "45 dB are asked of what was not promised"
    assert not only(unnamed, reference=pack, budget=Budget(psnr_to_reference=51.0)).passed
    [lost] = [
        fault
        for each in only(unnamed, reference=pack, budget=Budget(drift=0.0)).failed
        for fault in each.faults
        if each.way == "eager call 1" and each.picture.name == "astronaut"
    ]
    assert "lost" in lost
    with pytest.raises(DefianError, match="--max-drift of 0 dB or more"):
        Budget(drift=-1.0)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["verify", *map(str, arguments)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_command_says_it_in_a_table_and_json_and_writes_what_is_wrong(tmp_path, reference, trt, capsys):
    good = engine_with_pack(tmp_path / "good", reference)
    out, said = tmp_path / "out", tmp_path / "said.json"
    assert run(good, "--json", said, "--out", out) == 0
    assert not out.exists()
    assert json.loads(said.read_text())["passed"] is True
    assert "1 of 1 right, 0 wrong, 0 not run" in capsys.readouterr().out
    trt.faults.spoil = swapped
    assert run(good, good, "--json", said, "--out", out) == 1
    printed = capsys.readouterr().out
    assert "WRONG astronaut, eager call 1: " in printed
    assert "looks like channels swapped: red, green, blue are in the places of blue, green, red" in printed
    assert "0 of 2 right, 2 wrong, 0 not run" in printed
    strip = read_image(out / "tiny.fp32.engine.astronaut.eager-call-1.png")
    assert strip.shape == (80, 3 * 96 + 2 * 8, 3)
    assert np.array_equal(strip[:, :96], strip[:, 104:200, ::-1])
    [first, _] = json.loads(said.read_text())["artefacts"]
    wrong = next(each for each in first["results"] if each["faults"])
    assert wrong["found"]["psnr_to_reference"] < 40
    assert wrong["promised"]["psnr_to_reference"] is None
    assert wrong["looks_like"].startswith("channels swapped")


def test_an_engine_that_cannot_run_does_not_keep_the_others_from_it(tmp_path, reference, capsys):
    good = engine_with_pack(tmp_path / "good", reference)
    bad = engine_with_pack(tmp_path / "bad", reference, compute_capability="9.0")
    assert run(bad, good, "--out", tmp_path / "out") == 2
    printed = capsys.readouterr().out
    assert "error: tiny.fp32.engine: expected a GPU of compute capability 9.0" in printed
    assert "1 of 2 right, 0 wrong, 1 not run" in printed
