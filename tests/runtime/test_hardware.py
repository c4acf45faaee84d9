"""The table of devices: what is in it, what its names mean, and which device this machine is."""

from __future__ import annotations

import sys

import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.hardware import here
from defian_edge.runtime.hardware.device import SYSTEM, TERA
from defian_edge.runtime.hardware.jetsons import TENSORRT, tensorrt_of
from defian_edge.runtime.hardware.table import ALIASES, DEVICES, device_named, device_of
from tests.conftest import REPOSITORY
from tests.doubles.nvml import made_up_nvml
from tools.devices import page

ISSUED = (
    *("orin-nano-4", "orin-nano-8", "orin-nx-8", "orin-nx-16", "agx-orin-32", "agx-orin-64", "xavier-nx", "agx-xavier"),
    *("thor", "t4", "a2", "a10", "l4", "l40s", "gb10", "h100", "h200", "a100"),
    *("rtx2060", "rtx2060-12", "rtx2060super", "rtx2070", "rtx2070super", "rtx2080", "rtx2080super", "rtx2080ti"),
    *("rtx3050", "rtx3050-6", "rtx3060", "rtx3060-8", "rtx3060ti", "rtx3070", "rtx3070ti", "rtx3080", "rtx3080-12"),
    *("rtx3080ti", "rtx3090", "rtx3090ti"),
    *("rtx4060", "rtx4060ti", "rtx4060ti-16", "rtx4070", "rtx4070super", "rtx4070ti", "rtx4070tisuper", "rtx4080"),
    *("rtx4080super", "rtx4090", "rtx4090d"),
    *("rtx5050", "rtx5060", "rtx5060ti", "rtx5060ti-16", "rtx5070", "rtx5070ti", "rtx5080", "rtx5090"),
)
UNPUBLISHED = {"thor", "gb10"}


def test_every_device_has_plausible_peaks_and_a_source():
    for device in DEVICES.values():
        assert 3e10 < device.bandwidth < 1e13
        assert "NVIDIA" in device.source
        assert (4 << 30) <= device.memory <= (141 << 30)
        assert device.power
        assert device.is_jetson == bool(device.unified and device.name != "gb10")
        if device.name in UNPUBLISHED:
            assert (device.fp32, device.fp16, device.int8, device.fp8) == (None,) * 4
            continue
        assert device.fp32 is not None
        assert device.fp16 is not None
        assert device.int8 is not None
        assert 5e11 < device.fp32 <= device.fp16 < device.int8 < 3e15
        assert (device.fp8 is not None) == (device.capability >= (8, 9))
    assert all(device_named(name) for name in ISSUED)


@pytest.mark.parametrize(
    ("name", "teras"),
    [
        # The modules' data sheets round to these; of those with sparsity half, and without DLA.
        *(("agx-orin", 85.0), ("orin-nano", 20.0), ("orin-nano-super", 33.0), ("orin-nx", 30.0)),
        *(("orin-nx-super", 38.0), ("orin-nano-4", 10.0), ("orin-nx-8", 25.0), ("agx-orin-32", 54.0)),
        ("agx-xavier", 22.6),
        # NVIDIA's whitepapers print these.
        *(("rtx3090", 284.7), ("rtx3080", 238.0), ("rtx3070", 162.6), ("rtx4090", 660.6), ("rtx5090", 838.0)),
        *(("rtx5080", 450.2), ("rtx2080ti", 227.7), ("rtx2080", 169.6), ("rtx2070", 126.0)),
        # A quarter of the 421 TOPS of sparse FP4 that NVIDIA announced.
        ("rtx5050", 105.3),
    ],
)
def test_what_is_multiplied_here_is_what_nvidia_prints(name, teras):
    assert device_named(name).int8 == pytest.approx(teras * TERA, rel=0.03)


@pytest.mark.parametrize(
    ("gpu", "board", "memory", "name"),
    [
        ("NVIDIA GeForce RTX 4090", "", None, "rtx4090"),
        ("NVIDIA H100 80GB HBM3", "", 81559, "h100"),
        ("NVIDIA A100-SXM4-80GB", "", None, "a100"),
        ("Tesla T4", "", 15360, "t4"),
        ("NVIDIA GB10", "", 122570, "gb10"),
        ("NVIDIA GeForce RTX 4060 Ti", "", 8188, "rtx4060ti"),
        ("NVIDIA GeForce RTX 4060 Ti", "", 16380, "rtx4060ti-16"),
        ("NVIDIA GeForce RTX 3080", "", 10240, "rtx3080"),
        ("NVIDIA GeForce RTX 3080", "", 12288, "rtx3080-12"),
        ("NVIDIA GeForce RTX 3080", "", 20480, None),
        ("NVIDIA GeForce RTX 3060", "", 8192, "rtx3060-8"),
        ("NVIDIA GeForce RTX 3060", "", 12288, "rtx3060"),
        ("NVIDIA GeForce RTX 3050", "", 6144, "rtx3050-6"),
        ("NVIDIA GeForce RTX 3050", "", 4096, None),
        ("NVIDIA GeForce RTX 2060", "", 6144, "rtx2060"),
        ("NVIDIA GeForce RTX 2060", "", 12288, "rtx2060-12"),
        ("NVIDIA GeForce RTX 4090 D", "", 24564, "rtx4090d"),
        ("NVIDIA GeForce RTX 5090 D", "", 32607, None),
        ("NVIDIA L4", "", 23034, "l4"),
        ("NVIDIA A100-SXM4-80GB", "", 9856, None),  # a part of it, by MIG
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "", None, None),
        ("NVIDIA H100 PCIe", "", None, None),
        ("Something Else", "", None, None),
        (None, "", None, None),
        ("Orin (nvgpu)", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", None, "orin-nx-super"),
        ("Orin (nvgpu)", "NVIDIA Jetson Orin NX Engineering Reference Developer Kit", 7620, "orin-nx-8-super"),
        (None, "NVIDIA Jetson Orin Nano Developer Kit", None, "orin-nano-super"),
        (None, "NVIDIA Jetson Orin Nano Developer Kit", 3400, "orin-nano-4-super"),
        (None, "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 7620, "orin-nano-super"),
        (None, "NVIDIA Jetson AGX Orin Developer Kit", None, "agx-orin"),
        (None, "NVIDIA Jetson AGX Orin Developer Kit", 30536, "agx-orin-32"),
        (None, "NVIDIA Jetson AGX Thor Developer Kit", 125772, "thor"),
        (None, "NVIDIA Jetson AGX Xavier", None, "agx-xavier"),
        (None, "NVIDIA Jetson Xavier NX Developer Kit", 6857, "xavier-nx"),
        (None, "NVIDIA Jetson TX2", None, None),
    ],
)
def test_a_machine_is_known_by_the_drivers_or_the_boards_whole_name_and_its_memory(gpu, board, memory, name):
    found = device_of(gpu, board, None if memory is None else memory << 20)
    assert (found and found.name) == name


def test_the_fastest_mode_of_a_board_is_the_one_that_bounds_it():
    for fast, slow in (
        ("orin-nano-super", "orin-nano"),
        ("orin-nx-super", "orin-nx"),
        ("orin-nx-8-super", "orin-nx-8"),
    ):
        assert (DEVICES[fast].int8 or 0) > (DEVICES[slow].int8 or 0)
        assert DEVICES[fast].board
        assert not DEVICES[slow].board


@pytest.mark.parametrize("name", ["rtx9090", "", "RTX4090", "orin-nano ", "\x1b[31m", "9" * 5000])
def test_an_unknown_device_is_refused_with_the_names_that_there_are(name):
    with pytest.raises(DefianError, match=r"No device .*orin-nano.*h100.*orin-nx-16.*auto") as raised:
        device_named(name)
    assert len(str(raised.value)) < 2000
    assert "\x1b" not in str(raised.value)


def test_a_name_with_the_memory_is_another_for_the_one_without():
    assert {name: DEVICES[known].memory >> 30 for name, known in ALIASES.items()} == {
        "orin-nano-8": 8,
        "orin-nano-8-super": 8,
        "orin-nx-16": 16,
        "orin-nx-16-super": 16,
        "agx-orin-64": 64,
    }
    assert not set(ALIASES) & set(DEVICES)


def test_a_jetson_has_the_tensorrt_of_its_jetpacks_and_a_xavier_none_that_runs_engines():
    assert tensorrt_of(device_named("orin-nano-super")) == {"6.2": "10.3.0"}
    assert tensorrt_of(device_named("agx-orin")) == {"6.1": "10.3.0", "6.2": "10.3.0"}
    assert tensorrt_of(device_named("thor")) == {"7.0": "10.13"}
    assert tensorrt_of(device_named("xavier-nx")) == tensorrt_of(device_named("rtx4090")) == {}
    assert {each for device in DEVICES.values() for each in device.jetpacks} == set(TENSORRT)


def test_tensorrt_rtx_takes_cards_but_neither_jetsons_nor_an_h100():
    taken = {device.name for device in DEVICES.values() if device.takes_rtx}
    assert taken == {device.name for device in DEVICES.values() if not device.is_jetson} - {"h100", "h200"}


def test_a_shared_memory_is_the_systems_as_well():
    assert device_named("orin-nano").room == (8 << 30) - SYSTEM
    assert device_named("rtx4060").room == 8 << 30


class Machine:
    """A machine that calls itself something."""

    def __init__(self, monkeypatch, tmp_path, board: str = "", **gpu: object) -> None:
        model, meminfo = tmp_path / "model", tmp_path / "meminfo"
        meminfo.write_text("MemTotal:        7802880 kB\n")
        if board:
            model.write_text(f"{board}\0")
        monkeypatch.setattr(here, "BOARD", model)
        monkeypatch.setattr(here, "MEMINFO", meminfo)
        monkeypatch.setitem(sys.modules, "pynvml", made_up_nvml(**gpu) if gpu else None)


def test_auto_is_the_board_of_the_device_tree_with_the_memory_that_linux_has(monkeypatch, tmp_path):
    Machine(monkeypatch, tmp_path, "NVIDIA Jetson Orin Nano Developer Kit")
    assert here.device_for("auto").name == "orin-nano-super"
    assert here.device_for("orin-nx-16").name == "orin-nx"


def test_auto_is_the_card_that_nvml_names(monkeypatch, tmp_path):
    from types import SimpleNamespace

    memory = SimpleNamespace(total=16380 << 20, free=1)
    Machine(monkeypatch, tmp_path, Name="NVIDIA GeForce RTX 5060 Ti", MemoryInfo=memory)
    assert here.device_for("auto").name == "rtx5060ti-16"


@pytest.mark.parametrize(
    ("machine", "found"),
    [
        ({}, "found no NVIDIA GPU that NVML tells of"),
        ({"board": "NVIDIA Jetson Orin Something"}, "found NVIDIA Jetson Orin Something"),
        ({"Name": "NVIDIA Quadro Nobody Knows"}, "found NVIDIA Quadro Nobody Knows with 7620 MiB"),
    ],
)
def test_auto_on_a_machine_that_is_none_of_the_table_is_refused_with_what_it_is(monkeypatch, tmp_path, machine, found):
    Machine(monkeypatch, tmp_path, **machine)
    assert here.device_here() is None
    with pytest.raises(DefianError, match=found) as raised:
        here.device_for("auto")
    assert "orin-nano" in raised.value.hint


def test_the_table_in_the_documents_is_the_one_in_the_code():
    text = (REPOSITORY / "docs" / "devices.md").read_text(encoding="utf-8")
    assert text == page(text), "make it again: python -m tools.devices"
    for device in DEVICES.values():
        assert f"\n| {device.name}" in text
