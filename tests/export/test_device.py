"""What an export for a device of the table is, whether it fits its memory, and which precision is recommended."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from math import prod
from types import SimpleNamespace
from typing import Any

import pytest

from defian_edge.export import command, pipeline
from defian_edge.export.advice import recommended
from defian_edge.export.device import choose, require_capability
from defian_edge.export.engine import fit
from defian_edge.export.engine.compiler import Target
from defian_edge.export.engine.fit import OF_PLAN, OWN, Need, largest_profile, live_bytes, needs_of, too_large
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import DeviceWarning, run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.shares import verdict
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.hardware.device import GIBI, SYSTEM
from defian_edge.runtime.hardware.table import DEVICES, device_named
from defian_edge.runtime.manifest import EngineFacts
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import REPOSITORY, random_checkpoint, tiny

PROFILE = ShapeProfile.parse("1x64x64,1x360x640,1x1080x1920")


@pytest.mark.parametrize(
    ("name", "here", "chosen", "why"),
    [
        ("rtx4090", None, (Target.TENSORRT_RTX, 89, None), "ahead of time"),
        ("rtx5060", "rtx5060", (Target.TENSORRT_RTX, 120, None), "ahead of time"),
        ("t4", "h100", (Target.TENSORRT_RTX, 75, None), "ahead of time"),
        ("gb10", None, (Target.TENSORRT_RTX, 121, None), "ahead of time"),
        ("h100", None, (Target.ONNX, None, None), "does not run on compute capability 9.0.*run the same command there"),
        ("h100", "h200", (Target.TENSORRT, None, None), "on the device itself, which this is"),
        ("orin-nano", None, (Target.ONNX, None, None), "8.7, and TensorRT builds on the device itself: copy graphs"),
        ("orin-nano", "rtx4090", (Target.ONNX, None, None), "copy graphs"),
        ("orin-nano", "orin-nano-super", (Target.TENSORRT, None, 1024), "which this is"),
        ("orin-nano-4", "orin-nano-4-super", (Target.TENSORRT, None, 512), "which this is"),
        ("orin-nx", "orin-nx-super", (Target.TENSORRT, None, 2048), "which this is"),
        ("agx-orin", "agx-orin", (Target.TENSORRT, None, None), "which this is"),
        ("thor", "thor", (Target.TENSORRT, None, None), "11.0"),
        ("xavier-nx", None, (Target.ONNX, None, None), r"need TensorRT 10.3; .* 7.2, 5.1, has 8.5.2. Graphs run there"),
        ("agx-xavier", "agx-xavier", (Target.ONNX, None, None), "has 8.5.2"),
    ],
)
def test_a_device_chooses_target_capability_and_workspace(name, here, chosen, why):
    device = device_named(name)
    choice = choose(device, None if here is None else device_named(here))
    assert (choice.target, choice.sm, choice.workspace_mib) == chosen
    words = choice.words(device)
    assert words.startswith(f"for {name}: --target {choice.target.value}")
    assert re.search(why, words), words


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_can_be_exported_for_here_and_there(name, tmp_path):
    for here in (None, DEVICES[name]):
        choice = choose(DEVICES[name], here)
        ExportOptions(tmp_path, device=name, target=choice.target, sm=choice.sm, workspace_mib=choice.workspace_mib)


def test_what_is_given_stays():
    device = device_named("rtx4090")
    assert choose(device, None, Target.ONNX).target is Target.ONNX
    assert choose(device, None, sm="any").sm == "any"
    assert choose(device, None, Target.TENSORRT_RTX, 89, 256).workspace_mib == 256
    nano = device_named("orin-nano")
    assert choose(nano, nano, workspace_mib=300).workspace_mib == 300
    assert choose(device, device, Target.TENSORRT).target is Target.TENSORRT
    assert choose(device, None, Target.TENSORRT).target is Target.TENSORRT, "what this machine is will show"


@pytest.mark.parametrize(
    ("name", "here", "given", "words"),
    [
        ("orin-nano", None, {"target": Target.TENSORRT_RTX}, "does not run on compute capability 8.7"),
        ("h100", None, {"target": Target.TENSORRT_RTX}, "does not run on compute capability 9.0"),
        ("xavier-nx", "xavier-nx", {"target": Target.TENSORRT}, "need TensorRT 10.3"),
        ("orin-nano", "rtx4090", {"target": Target.TENSORRT}, "and this is a rtx4090"),
        ("rtx4090", None, {"sm": 86}, "--sm 86 with --device rtx4090: expected 89"),
        ("rtx4090", None, {"workspace_mib": 24577}, "--workspace 24577 .* at most its memory, 24576 MiB"),
    ],
)
def test_what_the_device_cannot_have_is_refused_loudly(name, here, given, words):
    with pytest.raises(DefianError, match=words):
        choose(device_named(name), None if here is None else device_named(here), **given)


def test_options_that_contradict_their_device_are_refused_from_python_too(tmp_path):
    with pytest.raises(DefianError, match="expected 89"):
        ExportOptions(tmp_path, device="rtx4090", target=Target.TENSORRT_RTX, sm=86)
    with pytest.raises(DefianError, match="No device 'rtx'"):
        ExportOptions(tmp_path, device="rtx")
    assert ExportOptions(tmp_path, device="rtx4090").target is Target.ONNX


def test_engines_that_this_machine_would_build_for_another_gpu_are_refused():
    require_capability(device_named("h100"), "9.0")
    require_capability(device_named("rtx4090"), "any")
    with pytest.raises(DefianError, match=r"expected engines for compute capability 8.7, found .* builds for 8.9"):
        require_capability(device_named("orin-nano"), "8.9")


def given_to_the_export(monkeypatch, *words: str) -> ExportOptions:
    """What the command line makes of its options."""
    found: list[Any] = []

    def keep(_model: str, options: ExportOptions) -> Any:  # noqa: ANN401
        found.append(options)
        return SimpleNamespace(passed=True)

    monkeypatch.setattr(command, "run_and_show", keep)
    monkeypatch.setattr(sys, "argv", ["export.py", "--model", "defian-s-x2", *words])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code in (0, None)
    return found[0]


def test_the_command_says_what_it_chose(monkeypatch, capsys):
    monkeypatch.setattr("defian_edge.runtime.hardware.here.device_here", lambda: None)
    options = given_to_the_export(monkeypatch, "--device", "rtx4070")
    assert (options.target, options.sm, options.device) == (Target.TENSORRT_RTX, 89, "rtx4070")
    assert "for rtx4070: --target tensorrt-rtx --sm 89. TensorRT-RTX builds" in capsys.readouterr().out
    options = given_to_the_export(monkeypatch, "--device", "orin-nano-8", "--precision", "fp16")
    assert (options.target, options.sm, options.device) == (Target.ONNX, None, "orin-nano")
    options = given_to_the_export(monkeypatch, "--device", "rtx4070", "--sm", "any", "--workspace", "100")
    assert (options.sm, options.workspace_mib) == ("any", 100)
    options = given_to_the_export(monkeypatch)
    assert (options.target, options.device) == (Target.ONNX, None)


def test_auto_is_this_machine(monkeypatch):
    nano = device_named("orin-nano-super")
    monkeypatch.setattr("defian_edge.runtime.hardware.here._found", lambda: (nano, ""))
    options = given_to_the_export(monkeypatch, "--device", "auto")
    assert (options.target, options.workspace_mib, options.device) == (Target.TENSORRT, 1024, nano.name)


@pytest.fixture(scope="module")
def small(traced):
    return traced(random_checkpoint(tiny()))


def test_live_maps_grow_with_the_pixels_and_are_no_less_than_the_largest(small):
    one, four = live_bytes(small, (1, 40, 60)), live_bytes(small, (1, 80, 120))
    assert one > 2 * 40 * 60 * 8
    assert four == pytest.approx(4 * one, rel=0.02)
    assert live_bytes(small, (2, 40, 60)) == pytest.approx(2 * one, rel=0.02)


def test_what_an_engine_needs_is_counted_by_plan_or_by_graph(small):
    profile = ShapeProfile.parse("1x8x8,1x40x60,2x80x120")
    [half, single, eight] = needs_of(small, [Precision.FP16, Precision.FP32, Precision.INT8], profile, 2, 10**6)
    assert (half.activations, single.activations, eight.activations) == (10**6, 2_350_000, 1_600_000)
    assert (single.weights, half.weights) == (4 * eight.weights, 2 * eight.weights)
    assert half.frames == 3 * 2 * 80 * 120 * 3 * 5
    assert half.total == half.activations + half.weights + half.frames + OWN
    assert "by TensorRT-RTX's plan" in half.words()
    [counted] = needs_of(small, [Precision.FP16], profile, 2, None)
    assert counted.activations == live_bytes(small, profile.maximum)
    assert "live at once in the graph" in counted.words()


def test_what_a_precision_takes_is_what_the_readme_says_was_planned():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (fp32|fp16|int8) \|.* ([\d.]+) \|$", text, re.MULTILINE)
    planned = {Precision(name): float(activations) for name, activations in rows}
    assert len(planned) == 3
    for precision, activations in planned.items():
        assert OF_PLAN[precision] == pytest.approx(activations / planned[Precision.FP16], rel=0.01)


def need(activations: int) -> Need:
    return Need(activations, 1 << 20, 3 * prod(PROFILE.maximum) * 15, planned=True)


@pytest.mark.parametrize("name", ["orin-nano-4", "orin-nano", "rtx2060", "l4"])
@pytest.mark.parametrize("mebi", [100, 3000, 9000, 40000])
def test_an_engine_that_fits_is_not_spoken_of_and_one_that_does_not_gets_a_profile_that_does(name, mebi):
    device, found = device_named(name), need(mebi << 20)
    told = too_large(found, Precision.FP16, PROFILE, device)
    assert bool(told) == (found.total > device.room)
    if not told:
        return
    assert f"{name}: fp16 engines of up to 1x1080x1920 need {found.total >> 20} MiB" in told
    fitting = largest_profile(found, PROFILE, device.room)
    assert fitting is not None
    assert f"--profile {fitting};" in told
    share = prod(fitting.maximum) / prod(PROFILE.maximum)
    assert (found.activations + found.frames) * share + found.weights + OWN <= device.room
    larger = (fitting.maximum[0], fitting.maximum[1] + 16, fitting.maximum[2] + 16)
    share = prod(larger) / prod(PROFILE.maximum)
    assert (found.activations + found.frames) * share + found.weights + OWN > device.room
    assert fitting.maximum[1] / fitting.maximum[2] == pytest.approx(1080 / 1920, rel=0.05)


def test_of_a_batch_images_are_given_up_before_their_size():
    profile = ShapeProfile.parse("1x64x64,4x540x960,16x540x960")
    found = largest_profile(Need(16 * GIBI, 0, 0, planned=True), profile, OWN + 5 * GIBI)
    assert found == ShapeProfile.parse("1x64x64,4x540x960,5x540x960")


def test_a_profile_of_one_shape_stays_one_and_a_network_of_one_size_gets_none():
    one, device = ShapeProfile.parse("1x1080x1920"), device_named("orin-nano-4")
    told = too_large(need(9 * GIBI), Precision.FP16, one, device)
    fitting = ShapeProfile.parse(re.findall(r"--profile (\S+);", told)[0])
    assert fitting.minimum == fitting.maximum != one.maximum
    told = too_large(need(9 * GIBI), Precision.FP16, one, device, one_size=True)
    assert told.endswith("The network takes no other size.")


def test_a_device_on_which_nothing_fits_is_told_so():
    device = replace(device_named("orin-nano-4"), memory=SYSTEM + OWN)
    told = too_large(need(10**9), Precision.FP32, PROFILE, device)
    assert told.endswith("Not even 1x64x64 fits.")


def accepted(precision: Precision, moved: int, worst: float, plan: int | None = None) -> Any:  # noqa: ANN401
    facts = None
    if plan is not None:
        facts = EngineFacts("tensorrt-rtx", "1.7.1", "8.9", 1, 1, 1, 1.0, 1, moved_bytes=plan)
    shares = SimpleNamespace(moved_bytes=moved, int8_results=10**6, total_macs={precision.value: 10**9})
    drift = SimpleNamespace(worst=SimpleNamespace(drift=worst))
    return SimpleNamespace(
        variant=SimpleNamespace(precision=precision), shares=shares, drift=drift, engine=facts, accepted=True
    )


def test_the_precision_with_the_least_drift_is_recommended_unless_another_is_faster():
    device = device_named("orin-nano")
    single, half = accepted(Precision.FP32, 4 * 10**9, 0.0), accepted(Precision.FP16, 2 * 10**9, 0.0008)
    eight = accepted(Precision.INT8, 1_950_000_000, 0.0122)
    line = recommended([single, half, eight], device, PROFILE, wide_results=False)
    assert line.startswith("orin-nano: fp16 is recommended. By peaks and bytes counted on the graphs, 1x360x640 takes")
    assert "fp16 29.41 ms (memory, worst drift 0.0008 dB); against fp32 58.82 ms" in line
    assert "\n" not in line
    faster = accepted(Precision.INT8, 10**9, 0.0122)
    assert "int8 is recommended" in recommended([single, half, faster], device, PROFILE, wide_results=False)
    assert "fp32 is recommended" in recommended([single], device, PROFILE, wide_results=False)
    refused = replace_accepted(half)
    assert recommended([refused], device, PROFILE, wide_results=False) == ""


def replace_accepted(artefact: Any) -> Any:  # noqa: ANN401
    artefact.accepted = False
    return artefact


def test_the_bytes_of_plans_count_where_every_engine_has_one_and_rates_that_are_not_published_are_said_to_be():
    device = device_named("gb10")
    half = accepted(Precision.FP16, 10**9, 0.0, plan=9 * 10**9)
    line = recommended([half], device, PROFILE, wide_results=True)
    assert "bytes of the engines' plans" in line
    assert "fp16 3.66 ms (memory" in line, "9 GB at 1080x1920 are 1 GB at 360x640, and that 1000/273 ms"
    assert "rates are not published" in line
    mixed = recommended([half, accepted(Precision.FP32, 10**9, 0.0)], device, PROFILE, wide_results=True)
    assert "counted on the graphs" in mixed


def test_int8_is_judged_on_the_device_that_was_named():
    from defian_edge.export.precision.shares import GraphShares

    int8 = GraphShares({}, {}, {}, {"int8": 10**9}, 10**9)
    fp16 = GraphShares({}, {}, {}, {"fp16": 10**9}, 2 * 10**9)
    assert "on l4: roofline" in verdict(int8, fp16, "8.9", device_named("l4"), wide_results=False)
    assert "on rtx4090, the largest of its kind" in verdict(int8, fp16, "8.9", wide_results=False)
    assert "No published peaks for thor" in verdict(int8, fp16, None, device_named("thor"), wide_results=False)


def test_what_does_not_fit_is_told_before_any_precision_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_variant", lambda *_: pytest.fail("a precision was made first"))
    monkeypatch.setattr(fit, "OWN", 3 * GIBI)
    options = ExportOptions(
        tmp_path, (Precision.FP16,), device="orin-nano-4", profile=ShapeProfile.parse("1x8x8,1x16x16,1x32x32"),
        rewrite_memory=False,
    )  # fmt: skip
    with (
        pytest.warns(DeviceWarning, match="fp16 engines of up to 1x32x32 need .* Not even"),
        pytest.raises(pytest.fail.Exception, match="a precision was made first"),
    ):
        run_export(random_checkpoint(tiny()).network(), options)
