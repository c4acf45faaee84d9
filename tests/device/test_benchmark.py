"""The benchmark on engines: what the device's clock says, what its memory holds, and what does not fit is refused."""

from __future__ import annotations

import json
import os
import sys

import pytest

from defian_edge.benchmark.command import main
from defian_edge.benchmark.gpu.memory import DeviceMemoryMeter
from defian_edge.benchmark.measure.latency import DEVICE, PARTS, SUMMANDS
from defian_edge.benchmark.measure.memory import measure_memory, probe
from defian_edge.runtime.device.nvml import Nvml
from defian_edge.runtime.engine.session import EngineSession
from defian_edge.runtime.errors import DefianError
from tests.conftest import REPOSITORY
from tests.device.engines import noise, write_engine
from tests.doubles.nvml import made_up_nvml, process

QUICK = ["--shape", "12x16", "--rounds", "9", "--seconds", "0", "--warm-up", "0", "--no-energy"]
pytestmark = pytest.mark.usefixtures("trt")


@pytest.fixture(autouse=True)
def gpu(monkeypatch) -> None:
    for module in ("candidates", "measure.latency", "run"):
        monkeypatch.setattr(f"defian_edge.benchmark.{module}.has_gpu", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> None:
    """The TensorRT double for processes that are started from here."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "tensorrt.py").write_text(
        "import sys\nfrom tests.doubles.tensorrt_module import TensorRt\nsys.modules[__name__] = TensorRt()\n"
    )
    (folder / "sitecustomize.py").write_text(
        "import defian_edge.benchmark.environment\ndefian_edge.benchmark.environment.has_gpu = lambda: True\n"
    )
    monkeypatch.setenv("DEFIAN_CACHE", str(tmp_path / "cache"))
    before = [each for each in sys.path if each]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(REPOSITORY), *before]))


def bench(*arguments) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(str(stopped.value.code or 0))


def test_an_engines_parts_are_in_the_table_and_the_json_with_all_statistics(tmp_path, monkeypatch, capsys):
    path, said_by_session = tmp_path / "bench.json", []
    timings = EngineSession.timings

    def heard(session):
        said_by_session.append(timings(session))
        return said_by_session[-1]

    monkeypatch.setattr(EngineSession, "timings", heard)
    assert bench(write_engine(tmp_path), *QUICK, "--no-memory", "--json", path) == 0
    [candidate] = json.loads(path.read_text())["candidates"]
    [latency] = candidate["latencies"]
    assert len(said_by_session) == 9
    sums = {DEVICE: [sum(each[name] for name in SUMMANDS) for each in said_by_session]}
    assert latency["parts"] == {name: [each[name] for each in said_by_session] for name in PARTS} | sums
    for name in (*PARTS, DEVICE):
        assert {"minimum", "maximum", "mean", "median", "p90", "p95", "p99"} <= set(latency["part_summaries"][name])
    said = capsys.readouterr().out
    assert "On the device at 1x12x16 LR in ms by CUDA events" in " ".join(said.split())
    assert "tensorrt 10.3.0 on stand-in GPU" in candidate["backend"]


def test_the_devices_peak_memory_is_what_the_driver_gave(tmp_path, driver, monkeypatch):
    engine, largest = write_engine(tmp_path), []
    take = DeviceMemoryMeter.take

    def taken(meter) -> None:
        take(meter)
        largest.append(driver.ask("live_bytes"))

    monkeypatch.setattr(DeviceMemoryMeter, "take", taken)
    memory = probe(str(engine), (2, 32, 48), "cpu").device
    assert memory is not None
    assert (memory.loaded, memory.peak) == (largest[0], max(largest))
    # Scratch memory from the beginning; the buffers of this shape with the first run.
    assert memory.loaded >= 4096
    assert memory.peak - memory.loaded >= 2 * 32 * 48 * 3 * (1 + 4)
    assert memory.process is None


def test_what_nvml_counts_for_the_process_stands_beside_it():
    nvml = Nvml(made_up_nvml(ComputeRunningProcesses=[process(300 << 20)]), "handle")
    with DeviceMemoryMeter(nvml) as meter:
        meter.take()
        memory = meter.result()
    assert (memory.loaded, memory.peak, memory.process) == (0, 0, 300 << 20)


def test_a_session_that_fails_leaves_no_context(tmp_path, driver):
    engine = write_engine(tmp_path, plan=b"garbage")
    with pytest.raises(DefianError, match="damaged"):
        probe(str(engine), (1, 8, 8), "cpu")
    assert driver.ask("contexts") == 0


@pytest.mark.usefixtures("elsewhere")
def test_the_memory_of_a_process_of_its_own_reaches_table_page_and_json(tmp_path, capsys):
    path = tmp_path / "bench.json"
    engine = write_engine(tmp_path)
    assert bench(engine, *QUICK, "--json", path) == 0
    [candidate] = json.loads(path.read_text())["candidates"]
    device, host = candidate["memory"]["device"], candidate["memory"]["host"]
    assert device["peak"] - device["loaded"] >= 12 * 16 * 3 * (1 + 4)
    assert host["peak"] >= host["loaded"] > 10e6
    assert "device, peak" in capsys.readouterr().out
    assert measure_memory(str(engine), (1, 8, 8), "cpu").no_device == ""


def test_a_shape_outside_of_the_profile_is_refused_before_anything_is_measured(tmp_path, trt, capsys):
    assert bench(write_engine(tmp_path), *QUICK, "--no-memory", "--batch", "1,3") == 2
    assert "expected shapes inside the profile" in capsys.readouterr().err
    assert trt.enqueues == 0


def test_energy_that_no_sensor_gives_is_said_to_be_unknown(tmp_path, capsys):
    assert bench(write_engine(tmp_path), *QUICK[:-1], "--no-memory") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Energy per image is not known: neither NVML nor tegrastats gives power here." in said


def test_energy_and_a_moving_clock_of_a_card_with_nvml_are_told(tmp_path, monkeypatch, capsys):
    joules, clocks = iter(range(1000, 10**9, 50)), iter(range(1000, 10**9, 10))
    nvml = made_up_nvml(
        TotalEnergyConsumption=lambda: next(joules), ClockInfo=lambda: next(clocks), CurrentClocksEventReasons=0x4
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr("defian_edge.benchmark.gpu.energy.SECONDS", 0.0)
    path = tmp_path / "bench.json"
    arguments = [*QUICK[:-1], "--no-memory", "--json", path]
    assert bench(write_engine(tmp_path), *arguments) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "held back by its power cap in 100% of the samples" in said
    assert "Energy at 1x12x16 LR, idle power included: energy counter of Made-up 4000 GPU-1234, by NVML" in said
    content = json.loads(path.read_text())
    [energy] = content["candidates"][0]["energy"]
    assert energy["joules_per_image"] == pytest.approx(0.05 / energy["images"])
    assert content["gpu_clocks"][0]["throttles"] == {"power cap": 1.0}
    assert content["environment"]["power_source"].startswith("energy counter")


def test_a_session_stays_usable_beside_the_meter(tmp_path):
    from defian_edge.runtime.session import open_session

    with DeviceMemoryMeter(None) as meter, open_session(write_engine(tmp_path)) as session:
        meter.take()
        session(noise(1, 8, 8, 3))
        meter.take()
        session(noise(1, 8, 8, 3))
