"""Power, energy, clocks and memory of a GPU: a made-up NVML, and lines as a Jetson's tegrastats writes them."""

from __future__ import annotations

import sys
import time
from itertools import count
from typing import TYPE_CHECKING

import pynvml
import pytest

from defian_edge.benchmark import environment
from defian_edge.benchmark.environment import describe_environment
from defian_edge.benchmark.gpu.clocks import Clocks, ClockWatch
from defian_edge.benchmark.gpu.energy import Meter, integral, measure_energy, open_meter
from defian_edge.benchmark.gpu.sampler import Sampler
from defian_edge.runtime.device.nvml import THROTTLES, Nvml, open_nvml
from defian_edge.runtime.device.tegra import Tegrastats, gpu_clock, gpu_clocks, module_power, rails
from tests.doubles.nvml import made_up_nvml, process

if TYPE_CHECKING:
    from pathlib import Path

ORIN_NANO = (
    "11-23-2026 19:02:11 RAM 2448/7620MB (lfb 8x4MB) SWAP 0/3810MB (cached 0MB) "
    "CPU [3%@1510,1%@1510,0%@1510,0%@1510,off,off] EMC_FREQ 2%@2133 GR3D_FREQ 61%@[611] NVDEC off NVJPG off OFA off "
    "VIC off APE 200 cpu@48.812C soc2@47.75C soc0@46.218C gpu@47.968C tj@48.812C soc1@47.718C "
    "VDD_IN 6957mW/4881mW VDD_CPU_GPU_CV 2572mW/902mW VDD_SOC 1622mW/1462mW"
)
AGX_ORIN = (
    "11-23-2026 19:05:40 RAM 4722/62796MB (lfb 2x4MB) SWAP 0/31398MB (cached 0MB) CPU [0%@729,2%@729,0%@729,0%@729] "
    "EMC_FREQ 0%@2133 GR3D_FREQ 0%@[0,0] VIC_FREQ 729 APE 174 CV0@-256C CPU@48.843C Tboard@37C SOC2@44.312C "
    "VDD_GPU_SOC 3968mW/3900mW VDD_CPU_CV 793mW/780mW VIN_SYS_5V0 4048mW/4011mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 1003mW/990mW NC 0mW/0mW"
)
JETPACK_4 = (
    "RAM 1903/3956MB (lfb 45x4MB) SWAP 0/1978MB (cached 0MB) IRAM 0/252kB(lfb 252kB) CPU [13%@102,5%@102,0%@102] "
    "EMC_FREQ 0% GR3D_FREQ 0% PLL@24C CPU@27C PMIC@100C GPU@25C AO@34.5C thermal@26C "
    "POM_5V_IN 2025/1984 POM_5V_GPU 41/40 POM_5V_CPU 369/350"
)


class Ticking:
    """A clock that goes on by a second a look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def gpu(**answers) -> Nvml:
    return Nvml(made_up_nvml(**answers), "handle")


def test_the_real_nvml_has_every_reason_for_a_lower_clock_under_its_number():
    known = {
        value for name, value in vars(pynvml).items() if name.startswith(("nvmlClocksEvent", "nvmlClocksThrottle"))
    }
    assert set(THROTTLES) <= known
    assert pynvml.nvmlClocksThrottleReasonGpuIdle not in THROTTLES


def test_a_lines_rails_are_read_and_nothing_else_is_taken_for_power():
    assert rails(ORIN_NANO) == {"VDD_IN": 6.957, "VDD_CPU_GPU_CV": 2.572, "VDD_SOC": 1.622}
    assert set(rails(AGX_ORIN)) == {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"}
    assert rails(JETPACK_4)["POM_5V_IN"] == 2.025


@pytest.mark.parametrize(
    ("line", "watts"),
    [(ORIN_NANO, 6.957), (AGX_ORIN, 3.968 + 0.793 + 4.048), (JETPACK_4, 2.025), ("RAM 1/2MB CPU [off]", None)],
)
def test_the_modules_power_is_its_input_rail_or_the_sum(line, watts):
    assert module_power(line) == (None if watts is None else pytest.approx(watts))


def test_power_is_integrated_over_the_stretch_and_no_further():
    samples = [(0.0, 10.0), (1.0, 10.0), (2.0, 30.0), (9.0, 99.0)]
    assert integral(samples, 0.5, 2.0) == pytest.approx(0.5 * 10 + 20)
    assert integral([(1.0, 10.0), (2.0, 20.0)], 0.0, 3.0) == pytest.approx(10 + 15 + 20)
    assert integral(samples, 0.5, 1.5) is None
    assert integral([], 0.0, 1.0) is None


def test_a_meter_prefers_the_counter_then_the_cards_sensor_then_the_module():
    counter = Meter(gpu(TotalEnergyConsumption=5, PowerUsage=3), "tegrastats")
    assert counter.source == "energy counter of Made-up 4000 GPU-1234, by NVML"
    sensor = Meter(gpu(PowerUsage=3), "tegrastats")
    assert sensor.source == "sampled power of Made-up 4000 GPU-1234, by NVML"
    module = Meter(gpu(), "tegrastats")
    assert module.source == "sampled power of the module, by tegrastats"
    assert Meter(None, None).source == ""
    # A card's energy says nothing of a candidate that the CPU runs; a module's says it of both.
    assert [each.covers(on_gpu=False) for each in (counter, sensor, module, Meter(None, None))] == [False] * 2 + [
        True,
        False,
    ]
    assert [each.covers(on_gpu=True) for each in (counter, sensor, module, Meter(None, None))] == [True] * 3 + [False]


def test_energy_by_the_counter_is_its_difference_over_the_images():
    millijoules = count(1_000_000, 12_000)
    clock = Ticking()
    meter = Meter(gpu(TotalEnergyConsumption=lambda: next(millijoules)), None, clock)
    seen = []
    energy = measure_energy(lambda images: seen.append(images.shape), (2, 8, 9), meter, seconds=2.5, clock=clock)
    assert energy is not None
    assert seen == [(2, 8, 9, 3)] * 3
    assert energy.images == 6
    assert energy.joules_per_image == pytest.approx(12.0 / 6)
    assert energy.watts == pytest.approx(12.0 / energy.seconds)


@pytest.mark.parametrize("answers", [[5, 7, 7], [5, 7, pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)]])
def test_a_counter_that_does_not_move_or_fails_gives_no_energy(answers):
    said = iter(answers)

    def answer():
        value = next(said)
        if isinstance(value, Exception):
            raise value
        return value

    meter = Meter(gpu(TotalEnergyConsumption=answer), None, Ticking())
    assert measure_energy(lambda images: images, (1, 8, 8), meter, seconds=0, clock=Ticking()) is None


def test_a_cards_sensor_is_sampled_while_the_work_goes_on():
    meter = Meter(gpu(PowerUsage=25_000), None)
    energy = measure_energy(lambda _: time.sleep(0.01), (1, 8, 8), meter, seconds=0.3)
    assert energy is not None
    assert energy.watts == pytest.approx(25.0)
    assert energy.joules_per_image * energy.images == pytest.approx(25.0 * energy.seconds)


@pytest.fixture
def tegrastats(tmp_path) -> str:
    """A program that writes lines as tegrastats does, and refuses arguments that it would refuse."""
    program = tmp_path / "tegrastats"
    lines = "\n".join(f"print({line!r}, flush=True)" for line in (ORIN_NANO, ORIN_NANO.replace("6957mW/", "8957mW/")))
    program.write_text(
        f"#!{sys.executable}\nimport sys, time\nassert sys.argv[1] == '--interval' and int(sys.argv[2]) > 0\n"
        f"while True:\n    time.sleep(0.02)\n" + "".join(f"    {line}\n" for line in lines.splitlines())
    )
    program.chmod(0o755)
    return str(program)


def test_a_jetsons_energy_comes_from_tegrastats_lines(tegrastats):
    energy = measure_energy(lambda _: time.sleep(0.01), (1, 8, 8), Meter(None, tegrastats), seconds=1.0)
    assert energy is not None
    assert energy.source == "sampled power of the module, by tegrastats"
    assert 6.957 <= energy.watts <= 8.957


def test_tegrastats_is_ended_with_the_block(tegrastats):
    with pytest.raises(KeyError), Tegrastats(tegrastats) as running:
        raise KeyError
    assert running._process.poll() is not None


def test_a_sampler_takes_the_first_and_the_last_and_skips_what_is_not_there():
    values = iter([1, None, 3])
    sampler = Sampler(lambda: next(values, None), interval=100)
    with sampler:
        sampler._take()
    assert [value for _, value in sampler.samples] == [1, 3]


def test_a_steady_clock_is_no_doubt_and_a_moving_or_throttled_one_is():
    assert Clocks("1x8x8", (1500.0,) * 20, {}).doubts() == []
    assert Clocks("1x8x8", (210.0,) + (1500.0,) * 40, {}).doubts() == []  # the first sample came before the work
    [moved] = Clocks("1x8x8", (1300.0,) * 10 + (1500.0,) * 10, {}).doubts()
    assert "1300 to 1500 MHz" in moved
    assert "lock-gpu-clocks" in moved
    [held] = Clocks("1x8x8", (1500.0,) * 4, {"power cap": 0.25}).doubts()
    assert held == "At 1x8x8 the GPU was held back by its power cap in 25% of the samples."


@pytest.mark.parametrize("name", ["CurrentClocksEventReasons", "CurrentClocksThrottleReasons"])
def test_the_watch_records_clocks_and_reasons_of_new_and_old_nvml(name):
    idle, cap, heat = 0x1, 0x4, 0x20
    reasons = iter([idle, cap | heat])
    nvml = made_up_nvml(ClockInfo=lambda: 1410, **{name: lambda: next(reasons, idle)})
    if name.endswith("ThrottleReasons"):
        del nvml.nvmlDeviceGetCurrentClocksEventReasons
    watch = ClockWatch(Nvml(nvml, "handle"))
    with watch:
        pass
    seen = watch.clocks("1x8x8")
    assert seen is not None
    assert set(seen.megahertz) == {1410}
    share = 1 / len(seen.megahertz)  # one sample at either end, and more where this machine is slow
    assert share <= 0.5
    assert seen.throttles == {"heat (software)": share, "power cap": share}


def test_without_a_gpu_there_is_nothing_to_watch(monkeypatch, tmp_path):
    monkeypatch.setattr("defian_edge.runtime.device.tegra.DEVFREQ", tmp_path)
    monkeypatch.setattr("defian_edge.benchmark.gpu.clocks.gpu_clock", lambda: None)
    watch = ClockWatch(None)
    with watch:
        pass
    assert watch.clocks("1x8x8") is None


def devfreq(folder: Path) -> Path:
    entry = folder / "17000000.gpu"
    entry.mkdir(parents=True)
    for name, hertz in (("cur_freq", 918_000_000), ("min_freq", 306_000_000), ("max_freq", 1_173_000_000)):
        (entry / name).write_text(f"{hertz}\n")
    (folder / "15340000.vic").mkdir()
    return folder


def test_a_jetsons_clock_is_the_kernels(tmp_path):
    folder = devfreq(tmp_path / "devfreq")
    assert gpu_clocks(folder) == {"now": 918.0, "least": 306.0, "most": 1173.0}
    assert gpu_clock(folder) == 918.0
    assert gpu_clocks(tmp_path / "none") is None
    (folder / "17000000.gpu" / "cur_freq").unlink()
    assert gpu_clocks(folder) is None


@pytest.mark.parametrize(
    ("visible", "asked"), [(None, 0), ("2,1", 2), ("GPU-77,GPU-78", "GPU-77"), ("MIG-x", 0), ("", 0)]
)
def test_the_gpu_asked_is_the_first_that_cuda_sees(monkeypatch, visible, asked):
    module = made_up_nvml(HandleByUUID="other")
    monkeypatch.setitem(sys.modules, "pynvml", module)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert open_nvml() is not None
    by = module.nvmlDeviceGetHandleByUUID if isinstance(asked, str) else module.nvmlDeviceGetHandleByIndex
    by.assert_called_once_with(asked)


def test_without_the_package_or_a_driver_there_is_no_nvml(monkeypatch):
    module = made_up_nvml()
    module.nvmlInit.side_effect = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert open_nvml() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert open_nvml() is None
    monkeypatch.setattr("defian_edge.benchmark.gpu.energy.find_tegrastats", lambda: None)
    assert open_meter().source == ""


def test_this_processs_memory_is_its_own_entry():
    assert gpu(ComputeRunningProcesses=[process(7, pid=1), process(5 << 20)]).process_memory() == 5 << 20
    assert gpu(ComputeRunningProcesses=[process(7, pid=1)]).process_memory() is None
    assert gpu(ComputeRunningProcesses=[process(None)]).process_memory() is None
    assert gpu().process_memory() is None


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of that name that print a text, first on the path."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def add(name: str, text: str) -> None:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
        path.chmod(0o755)

    return add


def test_the_environment_records_card_clocks_and_limits(programs, monkeypatch):
    monkeypatch.setattr(environment, "BOARD", environment.Path("/nothing"))
    programs(
        "nvidia-smi",
        "NVIDIA GeForce RTX 4090, 560.35.03, 2520 MHz, 10501 MHz, 3105 MHz, 10501 MHz, 450.00 W, P2, Enabled, 45",
    )
    found = describe_environment()
    assert found["gpu"]["name"] == "NVIDIA GeForce RTX 4090"
    assert found["gpu"]["driver_version"] == "560.35.03"
    assert found["gpu"]["clocks.sm"] == "2520 MHz"
    assert found["gpu"]["clocks.max.mem"] == "10501 MHz"
    assert found["gpu"]["power.limit"] == "450.00 W"
    assert found["board"] is None


def test_the_environment_records_a_jetsons_board_mode_and_clocks(programs, monkeypatch, tmp_path):
    board = tmp_path / "model"
    board.write_text("NVIDIA Jetson Orin NX Engineering Reference Developer Kit\0")
    monkeypatch.setattr(environment, "BOARD", board)
    folder = devfreq(tmp_path / "devfreq")
    monkeypatch.setattr(environment, "gpu_clocks", lambda: gpu_clocks(folder))
    programs("nvpmodel", "NV Power Mode: MAXN_SUPER\n0")
    programs("tegrastats", ORIN_NANO)
    found = describe_environment()
    assert found["board"] == "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
    assert found["power_mode"] == "MAXN_SUPER (0)"
    assert found["gpu_clocks_mhz"] == {"now": 918.0, "least": 306.0, "most": 1173.0}
    assert found["power_source"] == "sampled power of the module, by tegrastats"
