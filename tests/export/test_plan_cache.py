from __future__ import annotations

import pytest

from defian_edge.export.engine import memory_plan, plan_cache
from defian_edge.export.engine.build import EngineOptions
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.kernels import Traffic
from defian_edge.export.engine.plan_cache import keep_plan, plan_path, read_plan
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import random_checkpoint, tiny

pytestmark = pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason="TensorRT-RTX is not installed")
PROFILE = ShapeProfile.parse("1x8x8,1x16x16,1x32x32")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))


def options(**changes: object) -> EngineOptions:
    return EngineOptions(Target.TENSORRT_RTX, PROFILE, uint8=True, sm=89, **changes)  # pyright: ignore[reportArgumentType]


def test_a_graph_is_planned_once_and_the_second_answer_is_the_first(traced, monkeypatch):
    model = traced(random_checkpoint(tiny()))
    first = memory_plan.planned(model, PROFILE)
    assert first[0]
    assert first[1] is not None
    monkeypatch.setattr(memory_plan, "build_engine", lambda *_: pytest.fail("planned again"))
    assert memory_plan.planned(model, PROFILE) == first


def test_another_graph_another_option_or_another_compiler_has_a_plan_of_its_own(monkeypatch):
    places = {plan_path(b"a", options()), plan_path(b"b", options()), plan_path(b"a", options(plugin=True))}
    monkeypatch.setattr(plan_cache, "version", lambda _: "9.9")
    assert len(places | {plan_path(b"a", options())}) == 4


def test_what_cannot_be_believed_is_planned_anew():
    place = plan_path(b"a", options())
    assert place is not None
    keep_plan(place, 5, Traffic(2, 7))
    assert read_plan(place) == (5, Traffic(2, 7))
    keep_plan(place, None, None)
    assert read_plan(place) == (None, None)
    place.write_bytes(place.read_bytes() + b" ")
    with pytest.warns(UserWarning, match="made anew"):
        assert read_plan(place) is None


def test_without_a_home_nothing_is_kept(monkeypatch):
    monkeypatch.setattr(plan_cache, "cache_folder", lambda: None)
    assert plan_path(b"a", options()) is None
    keep_plan(None, 5, None)
    assert read_plan(None) is None
