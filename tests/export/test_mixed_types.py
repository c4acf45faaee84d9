"""FP16 graphs that miss their budget: which parts become BF16 or FP32, that the budget holds then, and what refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

import defian_edge as de
from defian_edge.calibration.drift.evaluator import GraphEvaluator
from defian_edge.calibration.drift.report import measure_drift
from defian_edge.calibration.photos import evaluation_pairs
from defian_edge.calibration.ranges.fp16_range import BeyondFp16, beyond_fp16
from defian_edge.export import pipeline
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import kernels_in
from defian_edge.export.engine.lowering import Eigen
from defian_edge.export.options import FIRST_BF16_SM, ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.mixed import MixOptions, choose_types
from defian_edge.export.precision.parts import MOST_PARTS, parts_of
from defian_edge.export.precision.search import fewest_left_out
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import Use, apply_rewrites
from defian_edge.export.source.base import reference_of
from defian_edge.export.source.opening import open_source
from defian_edge.export.tables import range_lines
from defian_edge.export.trace.network import Io
from defian_edge.runtime.building.compiler import targets
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise, random_checkpoint, tiny
from tests.export.mixed_networks import (
    Blocks,
    Compared,
    Offset,
    block,
    blue_block,
    blue_photo,
    fine_block,
    reference_on,
    seeded,
)
from tests.export.strangers import STRANGERS, graph_of, stranger

BF16, HALF, FULL = ir.DataType.BFLOAT16, ir.DataType.FLOAT16, ir.DataType.FLOAT
PROFILE = de.ShapeProfile.parse("1x24x32")
rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight photos, on which FP16's range is measured, and a ninth that is blue."""
    folder = tmp_path_factory.mktemp("nine")
    for index in range(8):
        grey = np.random.default_rng(index).integers(60, 200, (48, 48, 3)).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"a{index}.png")
    Image.fromarray(blue_photo()).save(folder / "blue.png")
    return folder


@pytest.fixture(scope="module")
def exported(photos, tmp_path_factory):
    """``exported(network, use)``: the result of an export in FP16 within 0.05 dB, each made once."""
    made = {}

    def get(name, use=Use.ENGINE):
        if (name, use) not in made:
            networks = {
                "blue": lambda: seeded(Blocks, block, blue_block, block),
                "fine": lambda: seeded(Blocks, block, fine_block, block),
            }
            options = ExportOptions(
                tmp_path_factory.mktemp(name), (Precision.FP16,), dataset=photos, max_drift=0.05, graph_for=use,
                profile=PROFILE, rewrite_memory=False, reference_size=0.0,
            )  # fmt: skip
            made[name, use] = run_export(networks[name](), options)
        return made[name, use]

    return get


def of_type(graph, dtype):
    """Convolutions by name whose results are of a type."""
    return {node.name for node in graph if node.op_type == "Conv" and node.outputs[0].dtype == dtype}


def test_what_leaves_fp16s_range_on_one_photo_alone_becomes_bf16_there(exported):
    result = exported("blue")
    [artefact] = result.artefacts
    assert result.passed
    assert artefact.drift.faults == []
    assert artefact.variant.mixed == {
        "bf16": ["body.1"], "fp32_range": [], "fp32": [], "parts": artefact.variant.mixed["parts"], "trials": 1,
        "nodes": 3,
    }  # fmt: skip
    graph = artefact.variant.model.graph
    assert of_type(graph, BF16) == {"body.1.body.2", "body.1.body.4"}
    assert "body.1.body.0" in of_type(graph, HALF)
    assert of_type(graph, HALF) > {"body.2.body.0", "body.2.body.2"}
    assert artefact.variant.model.opset_imports[""] == 22


def test_fp16_alone_gives_no_picture_there_and_no_hard_image_shows_it(exported, photos):
    variant = exported("blue").artefacts[0].variant
    network = open_source(seeded(Blocks, block, blue_block, block))
    graph = network.trace(Io.UINT8)
    apply_rewrites(graph)
    reference = reference_of(network, evaluation_pairs(2, photos))
    assert [pair.name for pair in reference.pairs][8] == "blue"
    known = beyond_fp16(graph, [each.lr for each in (*reference.pairs[:8], *reference.hard)])
    report = measure_drift("fp16", GraphEvaluator(make_fp16(graph, known)), reference)
    assert [image.name for image in report.faults] == ["blue"]
    assert report.hard == ()
    assert measure_drift("fp16", GraphEvaluator(variant.model), reference).verdict(0.05).passed


def test_no_value_beyond_fp16s_range_is_cast_to_fp16(exported):
    """Of the block's maps only those around the loud one are BF16, and that one, 5e5 on blue, is read as BF16 alone."""
    graph = exported("blue").artefacts[0].variant.model.graph
    nodes = {node.name: node for node in graph if node.op_type == "Conv"}
    loud = nodes["body.1.body.2"].outputs[0]
    [relu] = [use.node for use in loud.uses()]
    assert relu.op_type == "Relu"
    assert relu.outputs[0].dtype == BF16
    assert [use.node.name for use in relu.outputs[0].uses()] == ["body.1.body.4"]
    [cast] = [use.node for use in nodes["body.1.body.4"].outputs[0].uses()]
    assert cast.attributes["to"].as_int() == int(HALF)


@pytest.fixture(scope="module")
def compared():
    """The graph of a network whose loud map is read by nodes that write booleans and integers, and its choice."""
    network = open_source(seeded(Compared))
    graph = network.trace(Io.UINT8)
    apply_rewrites(graph)
    reference = reference_on(network, noise(24, 30, 3) // 16 * 16)
    report = measure_drift("fp16", GraphEvaluator(make_fp16(graph)), reference)
    assert not report.verdict(0.05).passed
    options = MixOptions(0.05, PROFILE, bf16=True)
    return graph, choose_types(graph, BeyondFp16(), [report], reference, options)


def test_nor_is_it_for_what_compares_it_and_writes_no_floats(compared):
    graph, mixed = compared
    assert not mixed.refused
    made = mixed.graph(graph).graph
    readers = {node.op_type: node for node in made if node.op_type in ("Greater", "ArgMax")}
    assert set(readers) == {"Greater", "ArgMax"}
    assert {node.inputs[0].dtype for node in readers.values()} == {BF16}
    [loud] = [node.outputs[0] for node in made if node.name == "head"]
    casts = [use.node for use in loud.uses() if use.node.op_type == "Cast"]
    assert {cast.attributes["to"].as_int() for cast in casts} <= {int(BF16)}


def test_the_manifest_and_the_summary_tell_which_and_a_session_on_the_cpu_says_what_runs_it(exported):
    result = exported("blue")
    path = result.artefacts[0].files[0]
    assert de.read_manifest(path).mixed["bf16"] == ["body.1"]
    [line] = range_lines(result.artefacts)
    assert "BF16 where FP16's range ends: body.1 (of" in line
    with pytest.raises(DefianError, match="has parts in BF16, and ONNX Runtime has no BF16 convolution on the CPU"):
        de.open_session(path)


def test_a_graph_that_shall_run_anywhere_has_fp32_instead_and_runs(exported):
    result = exported("blue", use=Use.PORTABLE)
    [artefact] = result.artefacts
    assert result.passed
    assert artefact.variant.mixed["fp32_range"] == ["body.1"]
    assert artefact.variant.mixed["bf16"] == []
    assert artefact.variant.model.opset_imports[""] == 20
    with de.open_session(artefact.files[0]) as session:
        assert session(blue_photo()[None]).shape == (1, 96, 96, 3)


def test_where_bits_are_missing_the_part_is_fp32_and_no_bf16_is_tried(exported):
    result = exported("fine")
    [artefact] = result.artefacts
    assert result.passed
    assert artefact.variant.mixed["fp32"] == ["body.1"]
    assert artefact.variant.mixed["bf16"] == artefact.variant.mixed["fp32_range"] == []
    graph = artefact.variant.model.graph
    assert {"body.1.body.0", "body.1.body.2"} <= of_type(graph, FULL)
    assert {"body.2.body.0", "body.2.body.2"} <= of_type(graph, HALF)
    assert artefact.variant.mixed["trials"] <= 3 * MOST_PARTS + 8
    assert "FP32: body.1" in "".join(range_lines(result.artefacts))


@pytest.mark.parametrize("name", ["usual", "defian"])
def test_where_fp16_keeps_its_budget_the_graph_is_byte_for_byte_what_it_is_without_one(name, photos, tmp_path):
    source = random_checkpoint(tiny()) if name == "defian" else seeded(Blocks, block, block)
    options = ExportOptions(
        tmp_path / "budget", (Precision.FP16,), dataset=photos, max_drift=0.05, rewrite_memory=False, reference_size=0.0
    )
    [kept] = run_export(source, options).artefacts
    graph = open_source(source).trace(Io.UINT8)
    apply_rewrites(graph)
    assert kept.accepted
    assert kept.variant.mixed == de.read_manifest(kept.files[0]).mixed == {}
    assert kept.files[0].read_bytes() == Variant(Precision.FP16, make_fp16(graph, kept.variant.beyond)).serialise()


def test_what_no_choice_saves_is_refused_with_the_reason_and_not_written(photos, tmp_path):
    """Its own pictures are the HR photos: what FP16 changes in them can only be a loss."""
    network = open_source(seeded(Offset))
    for folder in ("lr", "hr"):
        (tmp_path / folder).mkdir()
    for pair in evaluation_pairs(2, photos)[:2]:
        Image.fromarray(pair.lr).save(tmp_path / "lr" / f"{pair.name}.png")
        Image.fromarray(network.upscale(pair.lr)).save(tmp_path / "hr" / f"{pair.name}.png")
    options = ExportOptions(
        tmp_path / "out", (Precision.FP16,), lr=tmp_path / "lr", hr=tmp_path / "hr", max_drift=0.05, profile=PROFILE,
        rewrite_memory=False, reference_size=0.0,
    )  # fmt: skip
    result = run_export(seeded(Offset), options)
    [artefact] = result.artefacts
    assert not result.passed
    assert artefact.files == ()
    assert artefact.verdict.reasons[0] == "no part can be FP16 within 0.05 dB"
    assert artefact.variant.mixed["trials"] <= 3 * MOST_PARTS + 8


def test_a_graph_that_is_off_in_fp32_says_so(photos):
    network = open_source(seeded(Blocks, block))
    graph = network.trace(Io.UINT8)
    reference = reference_of(network, evaluation_pairs(2, photos)[:1])
    [result] = reference.results
    better = replace(result, image=reference.pairs[0].hr)
    reference = replace(reference, results=[better], hard=())
    failed = measure_drift("fp16", GraphEvaluator(make_fp16(graph)), reference)
    mixed = choose_types(graph, beyond_fp16(graph, []), [failed], reference, MixOptions(0.05, PROFILE, bf16=True))
    assert mixed.refused == "not even FP32 in every part is within 0.05 dB"


@rtx
def test_a_compiler_builds_fp16_bf16_and_fp32_in_one_engine(exported):
    options = EngineOptions(Target.TENSORRT_RTX, PROFILE, uint8=True, sm=89)
    model = exported("blue").artefacts[0].variant
    kernels = kernels_in(build_engine(model.serialise(), options).log)
    written = {tensor.dtype for kernel in kernels for tensor in kernel.writes}
    assert {"BFloat16", "Half"} <= written


@rtx
def test_a_compiler_builds_comparisons_of_bf16(compared):
    graph, mixed = compared
    options = EngineOptions(Target.TENSORRT_RTX, PROFILE, uint8=True, sm=89)
    assert build_engine(Variant(Precision.FP16, mixed.graph(graph)).serialise(), options).plan


@pytest.mark.parametrize("name", STRANGERS)
def test_every_node_is_in_one_part_and_blocks_are_parts(name):
    model = graph_of(stranger(name))
    nodes = {node.outputs[0].name or "" for node in model.graph}
    parts = parts_of(model, nodes)
    assert sorted(node for part in parts.values() for node in part) == sorted(nodes)
    assert 2 < len(parts) <= MOST_PARTS
    few = parts_of(model, {node.outputs[0].name or "" for node in model.graph if node.op_type == "Conv"})
    assert sum(map(len, few.values())) == sum(node.op_type == "Conv" for node in model.graph)
    if name == "edsr":
        assert {"body.0", "body.1", "conv_after_body", "upscale"} <= set(parts)


@pytest.mark.parametrize(
    ("options", "capability", "may"),
    [
        ({}, "", False),
        ({"graph_for": Use.ENGINE}, "", True),
        ({"graph_for": Use.ENGINE, "device": "t4"}, "", False),
        ({"graph_for": Use.ENGINE, "device": "orin-nano"}, "", True),
        ({"graph_for": Use.ENGINE, "triton": "there"}, "", False),
        ({"target": Target.TENSORRT}, "7.5", False),
        ({"target": Target.TENSORRT}, "9.0", True),
        ({"target": Target.TENSORRT, "device": "t4"}, "7.5", False),
        ({"target": Target.TENSORRT, "device": "rtx4090"}, "8.9", True),
        ({"target": Target.TENSORRT_RTX, "sm": 120}, "12.0", True),
        ({"target": Target.TENSORRT_RTX, "sm": 75}, "7.5", False),
        ({"target": Target.TENSORRT_RTX, "sm": "current"}, "7.5", False),
        ({"target": Target.TENSORRT_RTX, "sm": "current"}, "8.6", True),
        ({"target": Target.TENSORRT_RTX, "sm": "any"}, "any", False),
        ({"target": Target.TENSORRT_RTX, "sm": "any", "device": "rtx4090"}, "any", False),
        ({"target": Target.TENSORRT_RTX, "sm": 89, "eigen": Eigen.PLUGIN}, "8.9", False),
        ({"target": Target.TENSORRT_RTX, "sm": 89, "graph_for": Use.PORTABLE}, "8.9", False),
    ],
)
def test_parts_become_bf16_where_an_engine_will_know_it(options, capability, may, tmp_path):
    assert ExportOptions(tmp_path, (Precision.FP16,), **options).may_mix_bf16(capability) is may


@pytest.mark.parametrize(("capability", "may"), [("7.5", False), ("8.9", True)])
def test_the_gpu_that_tensorrt_builds_for_decides(capability, may, photos, tmp_path, monkeypatch):
    """The compiler says what it is; the export ends where it has handed that on."""

    def begun(*arguments):
        _, options, told, *_ = arguments
        raise DefianError(f"with BF16: {options.may_mix_bf16(told)}")

    monkeypatch.setattr(pipeline, "require_target", lambda _: capability)
    monkeypatch.setattr(pipeline, "Mixing", begun)
    options = ExportOptions(
        tmp_path, (Precision.FP16,), target=Target.TENSORRT, dataset=photos, max_drift=0.05, profile=PROFILE,
        rewrite_memory=False, reference_size=0.0,
    )  # fmt: skip
    with pytest.raises(DefianError, match=f"with BF16: {may}"):
        run_export(seeded(Compared), options)


@rtx
def test_any_gpu_is_also_one_without_bf16():
    import tensorrt_rtx

    assert min(targets(tensorrt_rtx)) < FIRST_BF16_SM


COST = {"a": 0.1, "b": 0.02, "c": 0.04, "d": 0.001}


@pytest.mark.parametrize(
    ("budget", "kept"), [(0.2, "bcd"), (0.05, "bd"), (0.03, "bd"), (0.02, "d"), (0.0005, ""), (-1.0, None)]
)
def test_the_search_leaves_out_few_and_takes_in_what_fits(budget, kept):
    order, asked = sorted(COST, key=lambda part: -COST[part]), []

    def tried(parts):
        asked.append(parts)
        passed = sum(COST[part] for part in parts) <= budget
        return ("".join(sorted(parts)) if passed else None), passed

    again = {part for part in order if COST[part] <= budget}
    assert fewest_left_out(order, again - {"a"}, tried) == kept
    assert len(asked) <= 2 + 2 + len(again)


def test_noise_is_upscaled_alike_with_bf16_and_with_fp32_in_the_part(exported):
    """The blue block is silent on anything else, so that it does not matter what it is."""
    mixed = GraphEvaluator(exported("blue").artefacts[0].variant.model)
    full = GraphEvaluator(exported("blue", use=Use.PORTABLE).artefacts[0].variant.model)
    assert np.array_equal(mixed(noise(24, 30, 3)).image, full(noise(24, 30, 3)).image)
