from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from defian_edge.export import pipeline
from defian_edge.export.engine import memory_plan, plan_cache
from defian_edge.export.engine.build import EngineOptions, build_engine
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import Traffic
from defian_edge.export.engine.plan_cache import Plan, plan_path, read_plan
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.rewrites import PORTABLE
from defian_edge.runtime.cache import keep
from defian_edge.runtime.images import write_png
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise, random_checkpoint, tiny

pytestmark = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="TensorRT-RTX is not installed")
PROFILE = ShapeProfile.parse("1x8x8,1x16x16,1x32x32")
LARGEST = ShapeProfile.parse("1x32x32")
SOME = PORTABLE[:3]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))


def options(**changes: object) -> EngineOptions:
    return EngineOptions(Target.TENSORRT_RTX, PROFILE, uint8=True, sm=89, **changes)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def builds(monkeypatch):
    """Profiles of all engines that are built."""
    profiles = []

    def counted(graph, options, progress=None):
        profiles.append(options.profile)
        return build_engine(graph, options, progress)

    monkeypatch.setattr(plan_cache, "build_engine", counted)
    monkeypatch.setattr(pipeline, "build_engine", counted)
    return profiles


def test_a_graph_is_planned_once_and_the_second_answer_is_the_first(traced, builds):
    model = traced(random_checkpoint(tiny()))
    first = memory_plan.plan_of(model, PROFILE)
    assert first.activation_bytes
    assert first.traffic is not None
    assert builds == [PROFILE, LARGEST]
    assert memory_plan.plan_of(model, PROFILE) == first
    assert memory_plan.planned_activation_bytes(model, PROFILE) == first.activation_bytes
    assert len(builds) == 2


def test_the_plan_of_one_shape_has_memory_and_bytes(traced, builds):
    plan = memory_plan.plan_of(traced(random_checkpoint(tiny())), LARGEST)
    assert plan.activation_bytes
    assert plan.traffic is not None
    assert builds == [LARGEST]


def test_an_export_plans_neither_its_engine_nor_that_of_the_finished_graph_again(tmp_path, builds):
    torch.save({"state_dict": random_checkpoint(tiny()).state}, tmp_path / "tiny.pth")
    write_png(tmp_path / "photos/one.png", noise(40, 48, 3))

    def exported(folder):
        options = ExportOptions(
            tmp_path / folder, (Precision.FP16,), target=Target.TENSORRT_RTX, sm=89,
            profile=PROFILE, dataset=tmp_path / "photos", reference_size=0.0,
        )  # fmt: skip
        builds.clear()
        [artefact] = run_export(tmp_path / "tiny.pth", options).artefacts
        assert artefact.engine is not None
        return artefact.engine

    first = exported("first")
    assert builds == [PROFILE, LARGEST, PROFILE, LARGEST, PROFILE]  # plain, finished, and the engine itself
    again = exported("again")
    assert builds == [PROFILE]  # an engine is built, whatever is known of its plan
    assert (again.activation_bytes, again.kernels, again.moved_bytes) == (
        first.activation_bytes, first.kernels, first.moved_bytes,
    )  # fmt: skip
    assert first.moved_bytes


def test_an_engine_for_one_shape_is_its_own_plan(tmp_path, builds):
    torch.save({"state_dict": random_checkpoint(tiny()).state}, tmp_path / "tiny.pth")
    write_png(tmp_path / "photos/one.png", noise(40, 48, 3))
    options = ExportOptions(
        tmp_path, (Precision.FP16,), target=Target.TENSORRT_RTX, sm=89, profile=LARGEST,
        dataset=tmp_path / "photos", rewrite_memory=False, reference_size=0.0,
    )  # fmt: skip
    [artefact] = run_export(tmp_path / "tiny.pth", options).artefacts
    assert builds == [LARGEST]
    assert artefact.engine is not None
    assert artefact.engine.moved_bytes


def test_every_rewrite_has_its_plan_where_that_is_asked(traced):
    steps = {
        memory: memory_plan.rewrite_with_account(traced(random_checkpoint(tiny())), SOME, PROFILE, memory=memory)
        for memory in (True, None, False)
    }
    known = {memory: [step.activation_bytes is not None for step in found] for memory, found in steps.items()}
    assert all(known[True])
    assert known[None] == [True] + [False] * len(SOME)
    assert not any(known[False])
    assert all(step.traffic is not None for step in steps[True])


def test_another_graph_another_option_or_another_compiler_has_a_plan_of_its_own(monkeypatch):
    places = {plan_path(b"a", options()), plan_path(b"b", options()), plan_path(b"a", options(plugin=True))}
    monkeypatch.setattr(plan_cache, "version", lambda _: "9.9")
    assert len(places | {plan_path(b"a", options())}) == 4


def test_what_cannot_be_believed_is_planned_anew():
    place = plan_path(b"a", options())
    assert place is not None
    assert read_plan(place) is None
    for plan in (Plan(5, Traffic(2, 7)), Plan(None, None)):
        moved = None if plan.traffic is None else asdict(plan.traffic)
        keep(place, json.dumps({"activation_bytes": plan.activation_bytes, "traffic": moved}).encode())
        assert read_plan(place) == plan
    keep(place, b'{"traffic": null}')
    assert read_plan(place) is None
    place.write_bytes(place.read_bytes() + b" ")
    with pytest.warns(UserWarning, match="made anew"):
        assert read_plan(place) is None


@pytest.mark.parametrize(
    "said",
    [
        '{"activation_bytes": "1", "traffic": null}',
        '{"activation_bytes": -1, "traffic": null}',
        '{"activation_bytes": true, "traffic": null}',
        '{"activation_bytes": NaN, "traffic": null}',
        '{"activation_bytes": 1, "traffic": {"kernels": 1.5, "bytes": 1}}',
        '{"activation_bytes": 1, "traffic": [1, 2]}',
        '{"traffic": null}',
        "[" * 100_000,
    ],
)
def test_a_whole_file_that_holds_no_plan_is_planned_anew(said, tmp_path):
    keep(tmp_path / "plans" / "a.json", said.encode())
    assert read_plan(tmp_path / "plans" / "a.json") is None


def test_without_a_home_a_plan_is_made_and_nothing_kept(traced, builds, monkeypatch):
    monkeypatch.setattr(plan_cache, "cache_folder", lambda: None)
    assert plan_path(b"a", options()) is None
    assert read_plan(None) is None
    model = traced(random_checkpoint(tiny()))
    assert memory_plan.plan_of(model, LARGEST) == memory_plan.plan_of(model, LARGEST)
    assert builds == [LARGEST, LARGEST]
