"""What real machines wrote is read: nvidia-smi of consumer and data-centre cards, tegrastats and nvpmodel."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from defian_edge.runtime.device import tegra
from defian_edge.runtime.doctor import jetson
from defian_edge.runtime.doctor.facts import Facts
from defian_edge.runtime.doctor.gpus import with_jetson
from defian_edge.runtime.doctor.nvidia_smi import driver_of, gpus_of
from defian_edge.runtime.doctor.rules import judge
from tests.conftest import REPOSITORY
from tests.doubles import doctor_records as records
from tests.doubles.doctor_facts import JETSON

MEBI = 1 << 20


def test_an_h100_of_a_computing_centre():
    assert driver_of(records.H100_545) == ("545.23.08", (12, 3))
    [gpu] = gpus_of(records.H100_545)
    assert gpu.name == "NVIDIA H100 80GB HBM3"
    assert (gpu.free, gpu.total) == (81227 * MEBI, 81559 * MEBI)
    assert (gpu.clock, gpu.most_clock) == (345.0, 1980.0)
    assert (gpu.power, gpu.power_limit, gpu.delivered_limit) == (72.02, 700.0, 700.0), "neither memory's nor module's"
    assert (gpu.temperature, gpu.slowdown, gpu.throttles) == (33.0, None, ())


def test_a_desktops_card_with_a_driver_before_the_names_changed():
    assert driver_of(records.RTX_3090_525) == ("525.125.06", (12, 0))
    [gpu] = gpus_of(records.RTX_3090_525)
    assert gpu.name == "NVIDIA GeForce RTX 3090"
    assert (gpu.free, gpu.total) == (22471 * MEBI, 24576 * MEBI)
    assert (gpu.clock, gpu.most_clock, gpu.temperature, gpu.slowdown) == (810.0, 2115.0, 58.0, 95.0)
    assert (gpu.power, gpu.power_limit, gpu.delivered_limit) == (83.48, 350.0, 350.0)
    assert gpu.throttles == ()


def test_a_card_that_tells_its_limits_and_not_what_it_draws():
    assert driver_of(records.RTX_4060_595) == ("595.71.05", (13, 2))
    [gpu] = gpus_of(records.RTX_4060_595)
    assert (gpu.power, gpu.power_limit, gpu.delivered_limit, gpu.total) == (None, 115.0, 115.0, None)


@pytest.mark.parametrize(
    ("line", "memory", "load", "watts", "degrees"),
    [
        (records.AGX_ORIN_JETPACK_5, (4321, 62801), 0, 2.340 + 0.390 + 4.025, 44.343),
        (records.AGX_ORIN_JETPACK_6, (5137, 62841), 0, 3.178 + 0.794 + 4.543, 52.875),
        (records.ORIN_NANO_JETPACK_7, (2845, 7486), 0, 3.462, 46.562),
    ],
)
def test_a_line_of_tegrastats(line, memory, load, watts, degrees):
    assert tegra.memory(line) == (memory[0] * MEBI, memory[1] * MEBI)
    assert tegra.gpu_load(line) == load
    assert tegra.module_power(line) == pytest.approx(watts)
    assert JETSON.jetson is not None
    told = replace(JETSON.jetson, temperatures=tegra.temperatures(line))
    [gpu] = with_jetson([], told, line)
    assert (gpu.power, gpu.temperature) == (pytest.approx(watts), degrees), "the GPU's, or tj where it is switched off"


def test_power_modes_and_releases():
    assert jetson.mode_of(records.AGX_ORIN_JETPACK_6_MODE) == ("MAXN", 0)
    assert jetson.release_of(records.AGX_ORIN_JETPACK_6_RELEASE) == (36, 4, 7)
    assert jetson.release_of(records.ORIN_NANO_JETPACK_7_RELEASE) == (39, 2, 1)
    mode, modes = jetson.mode_of(records.ORIN_NANO_JETPACK_7_MODE), jetson.modes_of(records.ORIN_NANO_JETPACK_7_MODES)
    assert (mode, modes) == (("25W", 1), {0: "15W", 1: "25W", 2: "MAXN_SUPER"})
    told = jetson.Jetson("NVIDIA Jetson Orin Nano", (39, 2, 1), mode, modes, tensorrt="10.16.2")
    assert told.jetpack == 7
    [slow] = [each for each in judge(Facts(jetson=told)) if each.rule == "power-mode"]
    assert slow.cure == "sudo nvpmodel -m 2"


def test_the_documents_name_where_each_was_published():
    page = (REPOSITORY / "docs" / "doctor.md").read_text(encoding="utf-8")
    source = (REPOSITORY / "tests" / "doubles" / "doctor_records.py").read_text(encoding="utf-8")
    addresses = {found.rstrip(".") for found in re.findall(r"https://[\w./-]+", source)}
    assert len(addresses) >= 5
    assert [address for address in addresses if address not in page] == []
