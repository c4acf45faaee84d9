"""What tools write is read: nvidia-smi of old and new drivers, tegrastats and nvpmodel of JetPack 5 to 7, ffmpeg."""

from __future__ import annotations

import pytest

from defian_edge.runtime.device import tegra
from defian_edge.runtime.doctor import jetson
from defian_edge.runtime.doctor.gather import encoders_of
from defian_edge.runtime.doctor.nvidia_smi import driver_of, gpus_of
from tests.doubles import doctor_outputs as outputs

GIB = 1 << 30


def test_a_consumer_card_of_an_old_driver_is_read_whole():
    assert driver_of(outputs.SMI_CONSUMER) == ("525.147.05", (12, 0))
    [gpu] = gpus_of(outputs.SMI_CONSUMER)
    assert gpu.name == "NVIDIA GeForce RTX 3070"
    assert gpu.uuid == "GPU-01234567-89ab-cdef-0123-456789abcdef"
    assert (gpu.free, gpu.total) == (600 << 20, 8 * GIB)
    assert (gpu.clock, gpu.most_clock) == (1605.0, 2100.0)
    assert (gpu.power, gpu.power_limit, gpu.delivered_limit) == (219.61, 180.0, 220.0)
    assert (gpu.temperature, gpu.slowdown) == (93.0, 95.0)
    assert gpu.throttles == ("power cap",)


def test_the_cards_of_a_data_centre_are_told_apart_and_what_is_not_supported_is_none():
    assert driver_of(outputs.SMI_DATA_CENTRE) == ("580.95.05", (13, 0))
    first, second = gpus_of(outputs.SMI_DATA_CENTRE)
    assert (first.power, first.power_limit, first.delivered_limit) == (71.2, 700.0, 700.0)
    assert (first.temperature, first.slowdown) == (31.0, None)
    assert first.throttles == (), "idle is no throttling, and a counter of the past is none"
    assert (second.uuid, second.free) == ("GPU-aaaaaaaa-0000-0000-0000-000000000002", 40000 << 20)
    assert (second.clock, second.power, second.temperature) == (None, None, None)


def test_memory_that_is_the_systems_is_not_told():
    [gpu] = gpus_of(outputs.SMI_UNIFIED)
    assert (gpu.free, gpu.total, gpu.power, gpu.power_limit) == (None, None, 4.52, None)


@pytest.mark.parametrize("text", ["", "nothing of the kind\n", "Failed to initialize NVML: Driver/library mismatch\n"])
def test_what_is_no_answer_of_nvidia_smi_lists_nothing(text):
    assert gpus_of(text) == []
    assert driver_of(text) == ("", None)


@pytest.mark.parametrize(
    ("line", "memory", "gpu", "load", "watts"),
    [
        (outputs.TEGRA_JETPACK_5, (6334, 15388), 45.875, 33, 5.299),
        (outputs.TEGRA_JETPACK_6_AS_USER, (2147, 7620), 48.625, 7, 4.556),
        (outputs.TEGRA_JETPACK_7, (20642, 62817), 47.625, 12, 13.907),
    ],
)
def test_a_line_of_tegrastats_is_read_whatever_jetpack_wrote_it(line, memory, gpu, load, watts):
    assert tegra.memory(line) == (memory[0] << 20, memory[1] << 20)
    assert tegra.temperatures(line)["gpu"] == gpu
    assert tegra.gpu_load(line) == load
    assert tegra.module_power(line) == pytest.approx(watts)


def test_a_sensor_that_is_off_has_no_temperature():
    assert "cv0" not in tegra.temperatures(outputs.TEGRA_JETPACK_5)
    assert tegra.temperatures(outputs.TEGRA_JETPACK_5)["tj"] == 48.875
    assert tegra.memory("") is None
    assert tegra.gpu_load("GR3D_FREQ @[1000,1000]") is None


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        (outputs.NVPMODEL_JETPACK_5, ("MODE_15W", 2)),
        (outputs.NVPMODEL_JETPACK_6, ("MAXN_SUPER", 2)),
        ("NV Power Mode: 5W\n1\nNVPM ERROR: Error opening /sys/kernel/x: 13\n", ("5W", 1)),
        ("NV Power Mode: MAXN\n", None),
        (outputs.NVPMODEL_REFUSED, None),
        ("", None),
    ],
)
def test_the_power_mode_is_read_among_warnings(text, mode):
    assert jetson.mode_of(text) == mode


def test_every_mode_of_a_board_is_known_by_its_number():
    assert jetson.modes_of(outputs.MODES_ORIN_NANO) == {0: "15W", 1: "25W", 2: "MAXN_SUPER", 3: "7W"}
    assert jetson.modes_of("# < POWER_MODEL ID=id_num NAME=mode_name >") == {}


@pytest.mark.parametrize(
    ("text", "release", "jetpack"),
    [(outputs.RELEASE_JETPACK_5, (35, 4, 1), 5), (outputs.RELEASE_JETPACK_6, (36, 4, 3), 6), ("", (), None)],
)
def test_jetson_linux_names_its_jetpack(text, release, jetpack):
    found = jetson.release_of(text)
    assert found == release
    assert jetson.Jetson("board", found).jetpack == jetpack


@pytest.mark.parametrize(
    ("board", "capability"),
    [
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", (8, 7)),
        ("NVIDIA Jetson AGX Thor Developer Kit", (11, 0)),
        ("NVIDIA Jetson Xavier NX Developer Kit", (7, 2)),
        ("NVIDIA Jetson Nano Developer Kit", None),
    ],
)
def test_a_boards_name_tells_its_capability(board, capability):
    assert jetson.capability_of(board) == capability


def test_encoders_are_those_for_video():
    assert encoders_of(outputs.FFMPEG_ENCODERS) == ("libx264", "h264_nvenc")
