"""The first opening of an engine on a device: one picture, once, and a session whose picture is wrong does not open."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest

from defian_edge.runtime.backends import EngineBackend
from defian_edge.runtime.cache import keep, read_cached
from defian_edge.runtime.device.context import kernel_driver
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import manifest_path
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.session import open_session
from defian_edge.runtime.verify.first_open import UncheckedEngineWarning
from tests.device.engines import noise, write_engine
from tests.device.packs import engine_with_pack

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.usefixtures("trt"),
    pytest.mark.filterwarnings("error::defian_edge.runtime.verify.first_open.UncheckedEngineWarning"),
]


@pytest.fixture
def engine(tmp_path, reference) -> Path:
    return engine_with_pack(tmp_path, reference)


def swapped(_: np.ndarray, result: np.ndarray) -> np.ndarray:
    return result[..., ::-1]


def test_one_picture_is_run_the_first_time_and_none_after_that(engine, trt, verified):
    with open_session(engine):
        assert trt.enqueues == 1
    [kept] = verified.iterdir()
    said = json.loads(read_cached(kept) or b"")
    assert said["verdict"] == "right"
    assert said["key"]["uuid"] == "01" * 16
    assert said["key"]["tensorrt"].endswith("10.3.0")
    for _ in range(2):
        with open_session(engine):
            assert trt.enqueues == 1


def test_nothing_of_the_check_stays_in_the_session(engine, driver, reference):
    with open_session(engine) as session:
        assert isinstance(session, EngineSession)
        assert session.guard.frames == 0
        assert session.timings() == {}
        assert session.graphs.captured == 0
        before = driver.ask("live_memory")
        images = noise(1, 8, 8, 3)
        assert np.array_equal(session(images), reference(images))
    with open_session(engine, backend=EngineBackend(check="never")):
        assert driver.ask("live_memory") == before


def test_an_engine_whose_picture_is_wrong_does_not_open_and_says_how_far_off_it_is(engine, trt, driver, verified):
    trt.faults.spoil = swapped
    for _ in range(2):  # a wrong one is looked at again
        with pytest.raises(DefianError, match="gives a wrong picture on this device") as raised:
            open_session(engine)
        assert "astronaut, small: " in raised.value.message
        assert "below the promised inf" in raised.value.message
        assert "It looks like channels swapped" in raised.value.message
        assert "python -m runtime verify" in raised.value.hint
        assert driver.ask("live") == 0
        assert driver.ask("contexts") == 0
    [kept] = verified.iterdir()
    assert json.loads(read_cached(kept) or b"")["verdict"] == "wrong"
    with open_session(engine, backend=EngineBackend(check="never")) as session:
        session(noise(1, 8, 8, 3))
    trt.faults.spoil = None
    with open_session(engine):
        pass
    assert json.loads(read_cached(kept) or b"")["verdict"] == "right"


def test_another_gpu_tensorrt_or_engine_is_checked_anew_and_always_checks_every_time(
    engine, trt, driver, tmp_path, reference, monkeypatch
):
    def opened(path: Path = engine, check: str = "once") -> int:
        before = trt.enqueues
        with open_session(path, backend=EngineBackend(check=check)):
            return trt.enqueues - before

    assert [opened(), opened()] == [1, 0]
    driver.set_uuid(2)
    assert [opened(), opened()] == [1, 0]
    driver.set_uuid(1)
    assert opened() == 0
    monkeypatch.setattr("defian_edge.runtime.device.context.kernel_driver", lambda: "NVRM version: 580.159.04")
    assert [opened(), opened()] == [1, 0]
    trt.__version__ = "10.3.0.26"
    assert [opened(), opened()] == [1, 0]
    assert [opened(check="always"), opened(check="always")] == [1, 1]
    assert [opened(check="never")] == [0]
    other = engine_with_pack(tmp_path / "other", reference, plan=engine.read_bytes() + b"\x08\x0a")
    assert [opened(other), opened(other)] == [1, 0]


@pytest.mark.filterwarnings("default::defian_edge.runtime.verify.first_open.UncheckedEngineWarning")
def test_without_a_pack_it_is_said_once_that_nothing_was_checked(engine, tmp_path, reference):
    lonely = write_engine(tmp_path / "lonely")
    with pytest.warns(UncheckedEngineWarning, match="its manifest names no reference pack"), open_session(lonely):
        pass
    [pack] = tmp_path.glob("*.reference.zip")
    pack.rename(tmp_path / "elsewhere.zip")
    with pytest.warns(UncheckedEngineWarning, match=rf"{pack.name} is not beside it"), open_session(engine):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in (lonely, engine):
            with open_session(path):
                pass
    with pytest.raises(DefianError, match="cannot be checked, as EngineBackend"):
        open_session(engine, backend=EngineBackend(check="always"))
    (tmp_path / "elsewhere.zip").rename(pack)
    with open_session(engine):
        pass
    small = engine_with_pack(tmp_path / "small", reference, plan=engine.read_bytes() + b"\x08\x0a")
    content = json.loads(manifest_path(small).read_text())
    manifest_path(small).write_text(json.dumps(content | {"profile": "1x4x4,1x5x5,1x6x6"}))
    with pytest.warns(UncheckedEngineWarning, match="its profile takes no picture of"), open_session(small):
        pass


def test_a_damaged_pack_is_refused_and_a_verdict_that_cannot_be_kept_or_read_costs_no_run(
    engine, tmp_path, trt, verified
):
    verified.write_text("a file where the folder should be")
    for turn in range(2):
        with open_session(engine):
            assert trt.enqueues == turn + 1
    verified.unlink()
    with open_session(engine):
        pass
    [kept] = verified.iterdir()
    keep(kept, b"{}")
    with open_session(engine):
        assert trt.enqueues == 4
    kept.unlink()
    [pack] = tmp_path.glob("*.reference.zip")
    pack.write_bytes(pack.read_bytes()[:-1])
    with pytest.raises(DefianError, match="not the reference pack that the manifest names"):
        open_session(engine)


def test_whichever_allocation_fails_nothing_stays_behind(engine, driver, verified):
    with open_session(engine, backend=EngineBackend(check="never")):
        without = driver.ask("allocations")
    before = driver.ask("allocations")
    with open_session(engine):
        taken = driver.ask("allocations") - before
    assert taken > without
    failed = 0
    for nth in range(1, taken + 1):
        for kept in verified.iterdir():
            kept.unlink()
        driver.fail(nth)
        try:
            with open_session(engine):
                pass
        except DefianError:
            failed += 1
        driver.fail(0)
        assert driver.ask("live") == 0
        assert driver.ask("contexts") == 0
    assert failed == taken


def test_a_gpu_that_breaks_down_in_the_check_is_an_error_and_no_verdict(engine, driver, trt, verified):
    def breaking(_: np.ndarray, result: np.ndarray) -> np.ndarray:
        driver.break_down()
        return result

    trt.faults.spoil = breaking
    with pytest.raises(DefianError, match="The CUDA driver failed at"):
        open_session(engine)
    driver.library.standin_break(0)
    assert not verified.exists()


def test_an_engine_that_takes_batches_alone_is_checked_in_a_batch(tmp_path, reference, trt):
    engine = engine_with_pack(tmp_path, reference, profile=ShapeProfile.parse("3x8x8,3x16x16,3x64x64"))
    with open_session(engine):
        assert trt.enqueues == 1


def test_other_words_for_check_are_refused():
    with pytest.raises(DefianError, match="Expected check as one of once, always, never, found 'twice'"):
        EngineBackend(check="twice")


def test_the_kernels_driver_is_known_by_its_first_line(tmp_path):
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Open Kernel Module  580.159.04\nGCC version\n")
    assert "580.159.04" in kernel_driver(tmp_path / "version")
    assert kernel_driver(tmp_path / "none") == ""
