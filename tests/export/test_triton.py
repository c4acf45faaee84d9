"""A Triton model repository as it is written: layout, configuration, versions, and what is refused."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING, Any

import pytest

from defian_edge.export.engine.compiler import Target
from defian_edge.export.options import ExportOptions
from defian_edge.export.rewrites import ALL
from defian_edge.export.trace.network import Io
from defian_edge.export.triton import repository
from defian_edge.export.triton.options import TritonOptions
from defian_edge.export.triton.repository import ONE_AT_A_TIME, served_of, triton_repository
from defian_edge.export.triton.staging import unfinished_folder
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import read_manifest
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.temporary import PREFIX
from tests.doubles.served import PROFILE, made_up
from tests.doubles.triton_server import parsed

if TYPE_CHECKING:
    from pathlib import Path

BATCHES = ShapeProfile.parse(PROFILE)
SESSION = TritonOptions(backend="session")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.mark.parametrize(
    ("file", "flavour", "options", "opened"),
    [
        ("net.fp16.onnx", "", TritonOptions(), "model.onnx"),
        ("net.fp16.tensorrt.engine", "tensorrt", TritonOptions(), "model.plan"),
        ("net.fp16.onnx", "", SESSION, "model.py"),
        ("net.fp16.tensorrt-rtx.engine", "tensorrt-rtx", SESSION, "model.py"),
    ],
)
def test_a_new_model_is_one_folder_with_configuration_version_and_analyzers_file(
    tmp_path, file, flavour, options, opened
):
    [model] = triton_repository(made_up(tmp_path, file, flavour), tmp_path / "models", options)
    assert (model.name, model.version, model.file, model.config_kept) == ("net.fp16", 1, opened, False)
    kept = {file, f"{file}.json"} if opened == "model.py" else {f"{opened}.json"}
    expected = {"config.pbtxt", "model-analyzer.yaml", *(f"1/{name}" for name in {opened, *kept})}
    assert files(tmp_path / "models" / "net.fp16") == expected
    assert read_manifest(model.folder / (file if opened == "model.py" else opened)).scale == 2
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def config(tmp_path: Path, file: str, flavour: str, options: TritonOptions, **facts: Any) -> dict[str, Any]:  # noqa: ANN401
    [model] = triton_repository(made_up(tmp_path, file, flavour, **facts), tmp_path / "models", options)
    return parsed(model.folder.parent / "config.pbtxt")


def test_a_plans_configuration_takes_pictures_of_any_size_in_the_batches_and_profile_of_the_plan(tmp_path):
    found = config(tmp_path, "net.fp16.tensorrt.engine", "tensorrt", TritonOptions(instances=2))
    pictures = {"data_type": "TYPE_UINT8", "dims": ["-1", "-1", "3"]}
    assert found["name"] == "net.fp16"
    assert found["backend"] == "tensorrt"
    assert found["max_batch_size"] == 4
    assert found["input"] == [{"name": "image", **pictures}]
    assert found["output"] == [{"name": "upscaled", **pictures}]
    assert found["instance_group"] == [{"count": 2, "kind": "KIND_GPU", "profile": ["0"]}]
    assert found["dynamic_batching"] == {"preferred_batch_size": [4]}
    assert found["version_policy"] == {"latest": {"num_versions": 1}}
    warm = [(each["batch_size"], each["inputs"]["image"]) for each in found["model_warmup"]]
    sizes = [(1, ["8", "8", "3"]), (1, ["16", "24", "3"]), (4, ["32", "40", "3"])]
    assert warm == [(n, {"data_type": "TYPE_UINT8", "dims": dims, "random_data": True}) for n, dims in sizes]
    assert "optimization" not in found
    assert "parameters" not in found


@pytest.mark.parametrize(
    ("profile", "batch", "is_batched"),
    [("1x8x8", 1, False), ("1x8x8,2x8x8,8x8x8", 8, True), ("2x8x8,2x8x8,4x8x8", 0, False)],
)
def test_batches_are_only_what_the_profile_allows(tmp_path, profile, batch, is_batched):
    allowed = ShapeProfile.parse(profile)
    found = config(tmp_path, "net.fp16.tensorrt.engine", "tensorrt", TritonOptions(), profile=allowed)
    assert found.get("max_batch_size", 0) == batch
    assert ("dynamic_batching" in found) == is_batched
    assert len(found["input"][0]["dims"]) == (3 if batch else 4)
    first = found["model_warmup"][0]
    assert first["batch_size"] == 1
    assert first["inputs"]["image"]["dims"] == (["8", "8", "3"] if batch else ["2", "8", "8", "3"])


@pytest.mark.parametrize(
    ("options", "kind", "accelerator", "parameters"),
    [
        (TritonOptions(), "KIND_CPU", None, {}),
        (TritonOptions(provider="cuda"), "KIND_GPU", "cuda", {"cudnn_conv_use_max_workspace": "1"}),
        (TritonOptions(provider="tensorrt"), "KIND_GPU", "tensorrt", {"precision_mode": "FP16"}),
    ],
)
def test_a_graphs_configuration_names_its_accelerator(tmp_path, options, kind, accelerator, parameters):
    found = config(tmp_path, "net.fp16.onnx", "", options)
    assert found["backend"] == "onnxruntime"
    assert found["max_batch_size"] == 1
    assert found["instance_group"] == [{"count": 1, "kind": kind}]
    assert "model_warmup" not in found
    if accelerator is None:
        assert "optimization" not in found
    else:
        [block] = found["optimization"]["execution_accelerators"]["gpu_execution_accelerator"]
        assert block["name"] == accelerator
        assert block["parameters"].items() >= parameters.items()


def test_a_sessions_configuration_says_what_it_takes_and_holds_graphs_to_the_first_gpu(tmp_path):
    options = TritonOptions(backend="session", provider="cuda", tiles="off", most_pixels=2000, profile=BATCHES)
    found = config(tmp_path, "net.fp16.onnx", "", options)
    assert found["backend"] == "python"
    assert found["instance_group"] == [{"count": 1, "kind": "KIND_GPU", "gpus": [0]}]
    said = {key: each["string_value"] for key, each in found["parameters"].items()}
    assert said == {"provider": "cuda", "tiles": "off", "most_pixels": "2000"}
    assert len(found["model_warmup"]) == 3


def test_the_analyzers_file_is_yaml_of_its_documented_fields(tmp_path):
    yaml = pytest.importorskip("yaml")
    file = made_up(tmp_path, "net.fp16.tensorrt.engine", "tensorrt")
    [model] = triton_repository(file, tmp_path / "models")
    found = yaml.safe_load((model.folder.parent / "model-analyzer.yaml").read_text())
    assert found.pop("profile_models") == {"net.fp16": {"perf_analyzer_flags": {"shape": ["image:16,24,3"]}}}
    assert found == {
        "model_repository": str(tmp_path / "models"), "run_config_search_mode": "quick",
        "run_config_search_max_instance_count": 4, "run_config_search_max_model_batch_size": 4,
        "run_config_search_max_concurrency": 16,
    }  # fmt: skip


def test_a_version_is_added_and_nothing_that_was_there_is_touched(tmp_path):
    models = tmp_path / "models"
    triton_repository(made_up(tmp_path / "a", "net.fp16.onnx"), models)
    before = contents(models)
    [second] = triton_repository(made_up(tmp_path / "b", "net.fp16.onnx", precision="fp32"), models)
    assert (second.version, second.config_kept) == (2, True)
    after = contents(models)
    assert after.items() >= before.items()
    assert set(after) - set(before) == {"net.fp16/2/model.onnx", "net.fp16/2/model.onnx.json"}
    (models / "net.fp16" / "2").rename(models / "net.fp16" / "9")
    [third] = triton_repository(made_up(tmp_path / "c", "net.fp16.onnx"), models)
    assert (third.version, third.config_kept) == (10, False)


def test_a_configuration_that_was_changed_by_hand_stays_as_it_is(tmp_path):
    models = tmp_path / "models"
    file = made_up(tmp_path, "net.fp16.onnx")
    [model] = triton_repository(file, models)
    mine = model.folder.parent / "config.pbtxt"
    mine.write_text(mine.read_text().replace("count: 1", "count: 3"))
    text = mine.read_text()
    assert triton_repository(file, models)[0].config_kept
    assert mine.read_text() == text


@pytest.mark.parametrize(
    ("second", "options", "words"),
    [
        (("net.fp16.onnx", ""), SESSION, "found model.onnx as file of version 1"),
        (("net.fp16.tensorrt.engine", "tensorrt"), TritonOptions(), "found model.onnx as file of version 1"),
        (
            ("net.fp16.onnx", ""),
            TritonOptions(profile=ShapeProfile.parse("2x8x8")),
            "expected max_batch_size of at most 0",
        ),
    ],
)
def test_a_model_of_that_name_that_is_another_is_refused_and_left(tmp_path, second, options, words):
    models = tmp_path / "models"
    triton_repository(made_up(tmp_path / "a", "net.fp16.onnx"), models)
    before = contents(tmp_path / "models")
    with pytest.raises(DefianError, match=words):
        triton_repository(made_up(tmp_path / "b", *second), models, options)
    assert contents(models) == before


def test_a_model_that_somebody_else_made_is_refused(tmp_path):
    models, file = tmp_path / "models", made_up(tmp_path, "net.fp16.onnx")
    (models / "net.fp16" / "1").mkdir(parents=True)
    with pytest.raises(DefianError, match=r"expected a model with its config\.pbtxt and a version"):
        triton_repository(file, models)
    (models / "net.fp16" / "config.pbtxt").write_text("")
    (models / "net.fp16" / "1" / "model.onnx").write_text("")
    with pytest.raises(DefianError, match="expected a version that defian-edge made"):
        triton_repository(file, models)


ON_CUDA, ON_TENSORRT = TritonOptions(provider="cuda"), TritonOptions(provider="tensorrt")
FIXED, BATCHED = TritonOptions(profile=ShapeProfile.parse("1x8x8")), TritonOptions(profile=BATCHES)
SMALL = TritonOptions(backend="session", profile=BATCHES, most_pixels=99)
GRAPH, PLAN = "net.fp16.onnx", "net.fp16.tensorrt.engine"
REFUSED = [
    (GRAPH, "", {"io": "float"}, TritonOptions(), "expected uint8 I/O to be served, found float"),
    ("net.tensorrt-rtx.engine", "tensorrt-rtx", {}, TritonOptions(), "this is one of TensorRT-RTX"),
    (PLAN, "tensorrt", {"plugins": ("p",)}, TritonOptions(), "needs the eigenvalue plugin"),
    (PLAN, "tensorrt", {}, ON_CUDA, "expected a graph for the provider cuda"),
    (GRAPH, "", {"precision": "int8"}, ON_TENSORRT, "switches on one of INT8 and FP16"),
    (PLAN, "tensorrt", {}, FIXED, "expected the engine's own profile"),
    (GRAPH, "", {"rewrites": ("early-attention",)}, BATCHED, "takes one picture at a time"),
    ("my net.onnx", "", {}, TritonOptions(), "expected a name of letters"),
    (GRAPH, "", {}, SMALL, "at most 99 pixels, found 1280"),
]


@pytest.mark.parametrize(("file", "flavour", "facts", "options", "words"), REFUSED)
def test_what_cannot_be_served_is_refused_before_anything_is_written(tmp_path, file, flavour, facts, options, words):
    good = made_up(tmp_path / "good", "other.fp16.onnx")
    bad = made_up(tmp_path / "bad", file, flavour, **facts)
    with pytest.raises(DefianError, match=words):
        triton_repository([good, bad], tmp_path / "models", options)
    assert not (tmp_path / "models").exists()


def test_two_files_of_one_model_and_a_repository_that_is_a_file_are_refused(tmp_path):
    both = [made_up(tmp_path, "net.fp16.onnx"), made_up(tmp_path, "net.fp16.tensorrt.engine", "tensorrt")]
    with pytest.raises(DefianError, match=r"Two of the files would be the model net\.fp16"):
        triton_repository(both, tmp_path / "models")
    with pytest.raises(DefianError, match=r"cannot be written.*\n.*--triton"):
        triton_repository(both[0], both[0])


def test_the_rewrites_that_fix_the_batch_are_those_named():
    assert {each.name for each in ALL if each.largest_batch == 1} == ONE_AT_A_TIME
    assert all(each.largest_batch in (None, 1) for each in ALL)


@pytest.mark.parametrize("options", [{"backend": "rust"}, {"provider": "npu"}, {"tiles": "2"}, {"instances": 0}])
def test_options_that_make_no_sense_are_refused(options):
    with pytest.raises(DefianError, match=r"expected one of|Expected at least 1 instance"):
        TritonOptions(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"io": Io.FLOAT}, "expected uint8 I/O"),
        ({"target": Target.TENSORRT_RTX, "sm": 89}, "this is one of TensorRT-RTX"),
        ({"serving": TritonOptions(provider="tensorrt")}, "switches on one of INT8 and FP16"),
        ({"triton": None, "serving": SESSION}, "but not where"),
    ],
)
def test_an_export_that_cannot_be_served_is_refused_before_it_begins(tmp_path, options, words):
    with pytest.raises(DefianError, match=words):
        ExportOptions(**{"out": tmp_path, "triton": tmp_path / "models", **options})


def test_a_full_disk_leaves_no_half_model(tmp_path, monkeypatch):
    models, file = tmp_path / "models", made_up(tmp_path, "net.fp16.onnx")
    written = []

    def full(path, content):
        if written:
            raise OSError(28, "No space left on device")
        written.append(path)
        path.write_bytes(content)

    monkeypatch.setattr(repository, "write_file", full)
    with pytest.raises(DefianError, match=r"No space left on device.*\n.*--triton"):
        triton_repository(file, models)
    assert written
    assert list(models.iterdir()) == []
    assert not list(tmp_path.glob(f"{PREFIX}*"))


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    dead = tmp_path / f"{PREFIX}triton-dead"
    dead.mkdir()
    with unfinished_folder(models) as living:
        assert living.parent == tmp_path
        assert not dead.exists()
        with unfinished_folder(models):
            assert living.exists()
    assert not living.exists()


def test_a_model_that_finds_no_runtime_says_what_to_install(tmp_path, monkeypatch):
    [model] = triton_repository(made_up(tmp_path, "net.fp16.onnx"), tmp_path / "models", SESSION)
    spec = importlib.util.spec_from_file_location("served", model.folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TritonPythonModel.__module__ == "defian_edge.runtime.triton_model"
    monkeypatch.setitem(sys.modules, "defian_edge.runtime.triton_model", None)
    with pytest.raises(ImportError, match=r"pip install 'defian-edge\[cpu\]'"):
        spec.loader.exec_module(module)


def test_a_fp16_graph_with_parts_in_bf16_is_served_as_a_bf16_one(tmp_path):
    mixed = {"bf16": ["body.1"], "fp32_range": [], "fp32": []}
    graph = made_up(tmp_path / "made", "net.fp16.onnx", mixed=mixed)
    assert served_of(read_manifest(graph)).precision == "bf16"
    with pytest.raises(DefianError, match="no BF16 convolution on the CPU"):
        triton_repository(graph, tmp_path / "models", SESSION)
    wide = made_up(tmp_path / "wide", "net.fp16.onnx", mixed={"bf16": [], "fp32_range": ["body.1"], "fp32": []})
    assert served_of(read_manifest(wide)).precision == "fp16"
    assert triton_repository(wide, tmp_path / "models", SESSION)
