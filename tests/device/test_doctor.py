"""The doctor on a driver that answers: what the driver tells, the steps of the smoke test, and all of it at once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from defian_edge.runtime.doctor import probe, smoke
from defian_edge.runtime.doctor.run import doctor
from defian_edge.runtime.errors import DefianError
from tests.device.engines import write_engine


def test_the_driver_tells_its_cuda_and_its_devices(driver):
    driver.set_integrated(integrated=True)
    driver.set_capability(8, 7)
    told = probe.ask_driver()
    assert (told["library"], told["status"]) == ("", 0)
    assert told["cuda"] >= 12000
    [device] = told["devices"]
    assert device == {
        "name": "stand-in GPU",
        "uuid": "01" * 16,
        "total": 8 << 30,
        "capability": [8, 7],
        "unified": True,
    }


def test_pycuda_tells_what_it_was_compiled_with():
    assert probe.ask_pycuda()[0] >= 12


def test_a_context_memory_and_pycuda_are_used_and_left_as_they_were(driver):
    assert smoke.use_driver() == "CUDA context, 1 MiB written and read back"
    assert smoke.use_pycuda() == "stand-in GPU: 8192 MiB of 8192 MiB free"
    assert driver.ask("allocations") == 4, "a context and a block of memory each"


@pytest.mark.parametrize(
    ("step", "nth", "message"),
    [
        (smoke.use_driver, 1, "answered cuDevicePrimaryCtxRetain with 2"),
        (smoke.use_driver, 2, "answered cuMemAlloc_v2 with 2"),
        (smoke.use_pycuda, 1, "no memory left for opening GPU 0"),
        (smoke.use_pycuda, 2, "no memory left for allocating"),
    ],
)
def test_a_gpu_that_gives_no_memory_is_told_and_left_as_it_was(driver, step, nth, message):
    driver.fail(nth)
    with pytest.raises(DefianError, match=message):
        step()


def test_an_engine_is_run_on_the_picture_that_its_profile_takes(tmp_path, trt):
    said = smoke.use_engine(write_engine(tmp_path))
    assert said.startswith("1x32x32 picture in ")
    assert "stand-in GPU" in said
    assert trt.enqueues > 0


def test_an_engine_that_fails_says_so(tmp_path, trt):
    trt.faults.refused_enqueue = 1
    with pytest.raises(DefianError, match="illegal memory access"):
        smoke.use_engine(write_engine(tmp_path))


def test_the_whole_diagnosis_sees_the_gpu_and_uses_it():
    found = doctor()
    assert found.facts.driver.works
    assert [gpu.name for gpu in found.facts.gpus] == ["stand-in GPU"]
    assert found.facts.gpus[0].capability == (8, 9)
    assert found.facts.crashes == {}
    smoked = {line.text for line in found.lines if line.area == "smoke"}
    assert "driver: CUDA context, 1 MiB written and read back" in smoked
    assert "pycuda: stand-in GPU: 8192 MiB of 8192 MiB free" in smoked


def test_hidden_gpus_are_found_to_be_hidden_by_the_environment():
    """The stand-in hides nothing, so the count that it would give is given for it."""
    code = (
        "from dataclasses import replace; from defian_edge.runtime.doctor.gather import gather\n"
        "from defian_edge.runtime.doctor.rules import judge; facts = gather()\n"
        "facts = replace(facts, driver=replace(facts.driver, status=100), gpus=())\n"
        "print([finding.cure for finding in judge(facts) if finding.rule == 'driver-starts'])"
    )
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "['unset CUDA_VISIBLE_DEVICES']\n"
