"""An earlier result: read, refused when damaged, and compared only where it may be."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from defian_edge.benchmark.baseline.changes import differences, require_common
from defian_edge.benchmark.baseline.comparability import largest, other_conditions
from defian_edge.benchmark.baseline.reading import read_json
from defian_edge.benchmark.report.change_table import change_table
from defian_edge.runtime.errors import DefianError
from tests.benchmark.conftest import QUICK, bench

if TYPE_CHECKING:
    from collections.abc import Callable

DRIFT = {"mean_drift_db": 0.01, "worst_drift_db": 0.02, "psnr_to_reference": 50.0, "images": [{"reference_psnr": 37.0}]}
MEMORY = {"host": {"loaded": 2e8, "peak": 3e8}, "device": {"loaded": 1e9, "peak": 2e9}}
GPU = {"name": "A", "driver_version": "1", "clocks.sm": "210 MHz", "temperature.gpu": "40", "pstate": "P8"}


def result() -> dict[str, Any]:
    """A whole result of one artefact at one shape."""
    candidate = {
        "name": "a",
        "model": "m",
        "precision": "fp32",
        "backend": "ONNX Runtime CPU",
        "latencies": [{"shape": "1x8x8", "seconds": [1.0, 1.001, 0.999] * 5}],
        "drift": DRIFT,
        "tile_drift": dict(DRIFT),
        "memory": MEMORY,
        "activation_bytes_planned": 1000,
    }
    content = {
        "environment": {"gpu": GPU, "cores": 2, "packages": {"torch": "2", "numpy": "1"}, "threads": {"torch": 1}},
        "shapes": ["1x8x8"],
        "images": "1 image of A",
        "images_sha256": "1234",
        "tiles": "8x8",
        "candidates": [candidate],
    }
    return copy.deepcopy(content)


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    other = result()
    change(other)
    return other


def first(content: dict[str, Any]) -> dict[str, Any]:
    return content["candidates"][0]


def exceeding(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    return {change.figure.name: change.verdict for change in differences(old, new) if change.exceeds}


def test_against_tells_a_change_from_noise(recorded, artefacts, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    _, path, old = recorded
    new = copy.deepcopy(old)
    for latency in new["candidates"][1]["latencies"]:
        latency["seconds"] = [10.0 * value for value in latency["seconds"]]
    new["candidates"][2]["drift"]["mean_drift_db"] += 0.01
    changes = {(change.name, change.figure.name): change.verdict for change in differences(old, new) if change.exceeds}
    assert changes == {
        ("tiny.fp32.onnx at 1x12x16", "latency"): "slower",
        ("tiny.fp32.onnx at 2x12x16", "latency"): "slower",
        ("tiny.int8.onnx", "drift, mean"): "more drift",
    }
    assert not any(change.exceeds for change in differences(old, old))
    assert other_conditions(old, old) == []
    assert bench(artefacts / "tiny.fp32.onnx", *QUICK, "--no-memory", "--against", path) == 0
    said = capsys.readouterr().out
    assert "Against the earlier result" in said
    assert "artefacts only before: tiny.pth, tiny.int8.onnx." in said
    assert "shapes only before: 2x12x16." in said
    assert "the images differ, so drift is not compared: 2 images of" in said


def test_a_change_of_three_per_cent_is_noise_if_the_samples_scatter_more():
    def timed(seconds: list[float]) -> dict[str, Any]:
        return changed(lambda content: first(content)["latencies"][0].update(seconds=seconds))

    steady, scattered = [1.0, 1.001, 0.999] * 5, [1.0, 1.2, 0.8] * 5
    assert exceeding(timed(steady), timed([1.03 * s for s in steady])) == {"latency": "slower"}
    assert exceeding(timed(scattered), timed([1.03 * s for s in scattered])) == {}
    assert exceeding(timed(steady), timed([1.02 * s for s in steady])) == {}


@pytest.mark.parametrize(
    ("section", "figures", "verdicts"),
    [
        ("drift", {"worst_drift_db": 0.0205}, {}),
        ("drift", {"worst_drift_db": 0.03}, {"drift, worst": "more drift"}),
        ("drift", {"psnr_to_reference": 49.0}, {"PSNR to reference": "farther"}),
        ("drift", {"psnr_to_reference": None}, {"PSNR to reference": "closer"}),
        ("drift", {"mean_drift_db": None}, {}),
        ("tile_drift", {"worst_drift_db": 0.01}, {"tile drift, worst": "less drift"}),
        ("memory", {"host": {"loaded": 0, "peak": 3.1e8}}, {}),
        ("memory", {"host": {"loaded": 0, "peak": 3.3e8}}, {"host memory, peak": "more"}),
        ("memory", {"device": {"loaded": 0, "peak": 1.9e9}}, {"device memory, peak": "less"}),
        ("memory", {"device": None, "host": None}, {}),
    ],
)
def test_drift_and_memory_are_compared_with_a_noise_of_their_own(section, figures, verdicts):
    new = changed(lambda content: first(content).update({section: first(content)[section] | figures}))
    assert exceeding(result(), new) == verdicts
    assert len(change_table(differences(result(), new)).rows) == len(differences(result(), new))


def test_what_changed_stands_first_and_nothing_has_no_sign():
    new = changed(lambda content: first(content)["drift"].update(worst_drift_db=0.5, mean_drift_db=0.01 - 1e-9))
    table = change_table(differences(result(), new))
    assert table.rows[0][1:5] == ("drift, worst", "0.0200 dB", "0.5000 dB", "+0.4800")
    assert {row[-1] for row in table.rows[1:]} == {"within the noise"}
    assert not [row for row in table.rows if row[4] in {"-0.0000", "-0.0%"}]


def test_planned_memory_has_no_noise():
    new = changed(lambda content: first(content).update(activation_bytes_planned=1001))
    assert exceeding(result(), new) == {"device memory, planned": "more"}


def test_drift_of_other_images_or_another_reference_is_not_compared_and_that_is_said():
    others = changed(lambda content: content.update(images_sha256="5678", images="1 image of B"))
    reference = changed(lambda content: first(content)["drift"].update(images=[{"reference_psnr": 30.0}]))
    for new, sentence in (
        (others, "the images differ, so drift is not compared: 1 image of A before, 1 image of B now."),
        (reference, "a: the reference differs, so its drift is not compared."),
    ):
        assert not [each for each in differences(result(), new) if "drift" in each.figure.name]
        assert other_conditions(result(), new) == [sentence]


def test_the_same_images_in_another_folder_are_compared():
    new = changed(lambda content: content.update(images="1 image of /elsewhere/A"))
    assert [each for each in differences(result(), new) if each.figure.name == "drift, mean"]
    assert other_conditions(result(), new) == []


def test_other_tiles_shapes_artefacts_and_programs_are_named():
    tiles = changed(lambda content: content.update(tiles="16x16"))
    assert not [each for each in differences(result(), tiles) if "tile" in each.figure.name]
    [said] = other_conditions(result(), tiles)
    assert said.startswith("the tiles differ")
    provider = changed(lambda content: first(content).update(backend="ONNX Runtime CUDA"))
    [said] = other_conditions(result(), provider)
    assert said == "a: backend differs: ONNX Runtime CPU before, ONNX Runtime CUDA now."
    shapes = changed(lambda content: (content.update(shapes=["2x9x9"]), first(content).update(latencies=[])))
    assert other_conditions(result(), shapes) == [
        "shapes only before: 1x8x8.",
        "shapes only now: 2x9x9.",
        "memory is not compared: it was measured at 1x8x8 before, at 2x9x9 now.",
    ]
    assert not [each for each in differences(result(), shapes) if "peak" in each.figure.name]
    more = changed(lambda content: content["candidates"].append(first(content) | {"name": "b"}))
    assert other_conditions(result(), more) == ["artefacts only now: b."]


def test_a_gpu_is_compared_by_what_it_is_and_not_by_its_heat():
    warm = GPU | {"clocks.sm": "1980 MHz", "temperature.gpu": "71", "pstate": "P0"}
    assert other_conditions(result(), changed(lambda content: content["environment"].update(gpu=warm))) == []
    driver = GPU | {"driver_version": "2"}
    [said] = other_conditions(result(), changed(lambda content: content["environment"].update(gpu=driver)))
    assert said == "gpu driver_version differs: 1 before, 2 now."
    [said] = other_conditions(result(), changed(lambda content: content["environment"].update(gpu=None)))
    assert said == "gpu differs: A before, none now."
    [said] = other_conditions(result(), changed(lambda content: content["environment"].update(cores=99)))
    assert said == "cores differs: 2 before, 99 now."
    packages = {"torch": "3", "numpy": "1"}
    [said] = other_conditions(result(), changed(lambda content: content["environment"].update(packages=packages)))
    assert said == "packages torch differs: 2 before, 3 now."


def test_results_without_a_common_artefact_or_shape_are_refused():
    with pytest.raises(DefianError, match="no artefact in common: a before, b now"):
        require_common(result(), ["b"])
    with pytest.raises(DefianError, match=r"no shape in common: 1x8x8 before, 1x9x9 now[^$]*--batch 1 --shape 8x8"):
        require_common(result(), ["a"], ["1x9x9"])
    require_common(result(), ["a"], ["1x9x9", "1x8x8"])
    assert largest(["4x8x8", "1x15x15", "1x8x8"]) == "4x8x8"


def test_a_result_that_shares_no_shape_is_refused_before_anything_is_measured(recorded, artefacts, capsys, monkeypatch):
    monkeypatch.setattr(
        "defian_edge.benchmark.run.measure_latency", lambda *_: pytest.fail("measured before it was refused")
    )
    graph = artefacts / "tiny.fp32.onnx"
    assert bench(graph, "--shape", "20x20", "--no-memory", "--against", recorded[1]) == 2
    assert "no shape in common: 1x12x16, 2x12x16 before, 1x20x20 now" in capsys.readouterr().err


DAMAGES = {
    "environment": lambda content: content.update(environment=None),
    "environment.packages": lambda content: content["environment"].update(packages=[]),
    "shapes": lambda content: content.update(shapes=["large"]),
    "images_sha256": lambda content: content.pop("images_sha256"),
    "without candidates": lambda content: content.update(candidates=[]),
    "candidates[0] is 7": lambda content: content.update(candidates=[7]),
    "candidates[0].name": lambda content: first(content).update(name=["a"]),
    "candidates[0].backend": lambda content: first(content).pop("backend"),
    "candidates[0].latencies is": lambda content: first(content).update(latencies=None),
    "latencies[0] is None": lambda content: first(content).update(latencies=[None]),
    "latencies[0].shape": lambda content: first(content)["latencies"][0].update(shape=[1]),
    "latencies[0].seconds": lambda content: first(content)["latencies"][0].update(seconds=[None]),
    "seconds holds something else": lambda content: first(content)["latencies"][0].update(seconds=[1.0, -1.0]),
    "drift.mean_drift_db": lambda content: first(content)["drift"].update(mean_drift_db="0"),
    "drift.images[0] is 1": lambda content: first(content)["drift"].update(images=[1]),
    "tile_drift is 3": lambda content: first(content).update(tile_drift=3),
    "memory.host.peak": lambda content: first(content)["memory"]["host"].update(peak=None),
    "activation_bytes_planned": lambda content: first(content).update(activation_bytes_planned="much"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_result_is_refused_with_the_field_that_is_damaged(damage, tmp_path):
    content = changed(DAMAGES[damage]) | {"schema": 4}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content))
    with pytest.raises(
        DefianError, match="expected a whole benchmark result of schema 4, found a damaged one"
    ) as error:
        read_json(path)
    assert damage in str(error.value)


def test_a_whole_result_is_read(recorded, tmp_path):
    assert read_json(recorded[1]) == recorded[2]
    path = tmp_path / "whole.json"
    path.write_text(json.dumps(result() | {"schema": 4}))
    assert read_json(path)["candidates"] == result()["candidates"]


def test_an_engine_of_another_machine_with_nothing_measured_is_told_that_nothing_is_compared(
    recorded, artefacts, tmp_path, capsys
):
    content = copy.deepcopy(recorded[2])
    for each in content["candidates"]:
        each.update(latencies=[], drift=None, memory=None)
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content))
    assert bench(artefacts / "tiny.fp32.onnx", *QUICK, "--no-memory", "--against", path) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "no figure is in both, so nothing is compared" in said
    assert "Against the earlier result" not in said
