from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from rich.progress import Progress

from defian_edge.calibration.photos import calibration_set
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import (
    Target,
    import_tensorrt,
    is_available,
    parse_sm,
)
from defian_edge.export.engine.memory_plan import planned_activation_bytes
from defian_edge.export.engine.progress import BuildProgress
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.trace.network import Io
from defian_edge.runtime.building.build import build_plan
from defian_edge.runtime.building.compiler import ANY, CURRENT, require_supported
from defian_edge.runtime.building.function_only import without_plugin
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import ANY_CAPABILITY
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import make_int8, random_checkpoint, tiny

PROFILE = ShapeProfile.parse("1x64x64,1x360x640,1x540x960")
needs_rtx = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="tensorrt-rtx is not installed")


@pytest.fixture
def rewritten(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model)
    return model


def rtx(profile=PROFILE, sm: int | str = 89, *, uint8=True):
    return EngineOptions(Target.TENSORRT_RTX, profile, uint8=uint8, sm=sm)


@needs_rtx
@pytest.mark.parametrize("precision", list(Precision))
def test_tensorrt_rtx_builds_a_real_engine_without_a_gpu(rewritten, precision):
    if precision is Precision.INT8:
        variant = make_int8(rewritten, calibration_set(None, 2, patches=2))
    else:
        variant = Variant(precision, rewritten if precision is Precision.FP32 else make_fp16(rewritten))
    with Progress(disable=True) as progress:
        display = BuildProgress(progress, "engine")
        built = build_engine(variant.serialise(), rtx(), display)
    assert len(built.plan) == built.facts.engine_bytes > 10_000
    assert (built.facts.activation_bytes or 0) > 540 * 960 * 16
    assert (built.facts.weights_bytes or 0) > 0
    assert built.facts.compute_capability == "8.9"
    assert "Building engine" in display.phases


@needs_rtx
def test_float_io_and_a_batch_build_too(traced):
    model = traced(random_checkpoint(tiny()), Io.FLOAT)
    apply_rewrites(model)
    profile = ShapeProfile.parse("1x8x8,2x64x64,4x128x96")
    graph = Variant(Precision.FP16, make_fp16(model)).serialise()
    assert build_engine(graph, rtx(profile, sm=86, uint8=False)).facts.compute_capability == "8.6"


@needs_rtx
def test_a_device_without_polygraphy_builds_what_an_export_builds(rewritten):
    graph = Variant(Precision.FP16, make_fp16(rewritten)).serialise()
    for options in (rtx(), replace(rtx(), workspace_mib=1024)):
        ours, theirs = build_plan(without_plugin(graph), options.for_layers()), build_engine(graph, options)
        assert replace(ours.facts, build_seconds=0.0) == replace(theirs.facts, build_seconds=0.0)


@needs_rtx
def test_the_rewritten_network_needs_less_memory_by_the_compilers_word(traced, bundled_x2):
    plain, rewritten = traced(bundled_x2), traced(bundled_x2)
    apply_rewrites(rewritten)
    before, after = (planned_activation_bytes(model, PROFILE) for model in (plain, rewritten))
    assert before is not None
    assert after is not None
    assert after <= 290e6 < before


@needs_rtx
def test_an_unknown_compute_capability_lists_the_known_ones(rewritten):
    with pytest.raises(DefianError, match=r"sm_87.*expected one of.*89"):
        build_engine(Variant(Precision.FP32, rewritten).serialise(), rtx(sm=87))


@needs_rtx
def test_a_graph_that_does_not_parse_is_reported_in_the_compilers_words():
    with pytest.raises(DefianError, match="cannot parse"):
        build_engine(b"not a graph", rtx())


@pytest.mark.skipif(is_available(Target.TENSORRT), reason="TensorRT is installed here")
def test_without_tensorrt_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "polygraphy.config", raising=False)  # nothing has chosen a flavour yet
    monkeypatch.setenv("POLYGRAPHY_USE_TENSORRT_RTX", "0")
    with pytest.raises(DefianError, match="needs the package 'tensorrt', which is not installed") as raised:
        import_tensorrt(Target.TENSORRT)
    assert "defian-edge[gpu]" in raised.value.hint


def test_one_process_serves_one_flavour_of_tensorrt(monkeypatch):
    monkeypatch.setitem(sys.modules, "polygraphy.config", object())
    monkeypatch.setenv("POLYGRAPHY_USE_TENSORRT_RTX", "1")
    with pytest.raises(DefianError, match="already used the other flavour"):
        import_tensorrt(Target.TENSORRT)


@pytest.mark.gpu
def test_tensorrt_builds_an_engine_for_the_device_it_runs_on(rewritten):
    if not is_available(Target.TENSORRT):
        pytest.skip("needs an NVIDIA GPU with its driver, TensorRT and pycuda")
    options = EngineOptions(Target.TENSORRT, PROFILE, uint8=True, workspace_mib=1024)
    built = build_engine(Variant(Precision.FP16, make_fp16(rewritten)).serialise(), options)
    assert built.facts.flavour == "tensorrt"
    assert built.facts.engine_bytes == len(built.plan) > 10_000


@needs_rtx
def test_an_engine_for_any_gpu_says_so(rewritten):
    built = build_engine(Variant(Precision.FP16, make_fp16(rewritten)).serialise(), rtx(sm=ANY))
    assert built.facts.compute_capability == ANY_CAPABILITY
    assert len(built.plan) == built.facts.engine_bytes > 10_000


@pytest.mark.parametrize(("text", "meant"), [("89", 89), ("any", ANY), ("current", CURRENT)])
def test_sm_is_a_number_or_one_of_two_words(text, meant):
    assert parse_sm(text) == meant


@pytest.mark.parametrize("text", ["-1", "8.9", "", "sm_89", "²", "12345678901234567890", "ANY"])
def test_another_sm_is_refused_with_what_was_expected(text):
    with pytest.raises(DefianError, match="expected a compute capability such as 89, 'current' or 'any'"):
        parse_sm(text)


@needs_rtx
@pytest.mark.parametrize("capability", [(7, 5), (8, 9), (12, 1), (12, 2), (13, 0)])
def test_a_gpu_that_is_a_target_or_newer_than_all_is_taken(capability):
    require_supported(import_tensorrt(Target.TENSORRT_RTX), capability)


@needs_rtx
@pytest.mark.parametrize("capability", [(7, 0), (8, 7), (9, 0), (10, 0)])
def test_a_gpu_between_the_targets_is_refused_before_anything_is_built(capability):
    with pytest.raises(DefianError, match="does not run on this GPU of compute capability") as raised:
        require_supported(import_tensorrt(Target.TENSORRT_RTX), capability)
    assert "--provider cuda" in raised.value.hint
