"""Facts are read from where they lie: GPUs, a Jetson's files, the driver, FFmpeg."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pynvml
import pytest

from defian_edge.runtime.doctor import gather, gpus, jetson, programs
from defian_edge.runtime.doctor.facts import Gpu, Package
from defian_edge.runtime.doctor.findings import Level
from defian_edge.runtime.doctor.programs import Said
from defian_edge.runtime.doctor.run import doctor
from defian_edge.runtime.doctor.steps import CRASHED, DONE, FAILED, Step
from tests.conftest import needed
from tests.doubles import doctor_outputs as outputs
from tests.doubles.doctor_facts import JETSON
from tests.doubles.nvml import made_up_nvml

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30


class Memory:
    free, total, used = 70 * GIB, 80 * GIB, 10 * GIB


def test_nvml_tells_of_every_gpu_what_the_card_gives(monkeypatch):
    module = made_up_nvml(
        Count=2,
        CudaComputeCapability=(9, 0),
        MemoryInfo=Memory,
        ClockInfo=345,
        MaxClockInfo=1980,
        PowerUsage=71_200,
        EnforcedPowerLimit=500_000,
        PowerManagementDefaultLimit=700_000,
        Temperature=31,
        TemperatureThreshold=95,
        CurrentClocksEventReasons=0x24,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    found, why = gpus.listed_by_nvml()
    assert (len(found), why) == (2, "")
    assert found[0] == Gpu(
        name="Made-up 4000",
        source="NVML",
        uuid="GPU-1234",
        capability=(9, 0),
        free=70 * GIB,
        total=80 * GIB,
        clock=345,
        most_clock=1980,
        power=71.2,
        power_limit=500.0,
        delivered_limit=700.0,
        temperature=31,
        slowdown=95,
        throttles=("heat (software)", "power cap"),
    )


def test_what_nvml_does_not_give_is_none_and_why_it_lists_nothing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", made_up_nvml(Count=1))
    [gpu], _ = gpus.listed_by_nvml()
    assert (gpu.capability, gpu.total, gpu.power_limit, gpu.throttles) == (None, None, None, ())
    for number, told in (
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, True),
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, False),
    ):
        module = made_up_nvml()
        module.nvmlInit.side_effect = pynvml.NVMLError(number)
        module.NVML_ERROR_LIBRARY_NOT_FOUND = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
        module.NVML_ERROR_DRIVER_NOT_LOADED = pynvml.NVML_ERROR_DRIVER_NOT_LOADED
        monkeypatch.setitem(sys.modules, "pynvml", module)
        found, why = gpus.listed_by_nvml()
        assert found == []
        assert ("mismatch" in why.lower()) is told


def device(number: int, *, unified: bool = False) -> dict[str, object]:
    uuid = f"{number:032x}"
    return {"name": f"gpu {number}", "uuid": uuid, "total": 8 * GIB, "capability": [8, 9], "unified": unified}


def listed(number: int) -> Gpu:
    return Gpu(f"gpu {number}", "nvidia-smi", f"GPU-00000000-0000-0000-0000-{number:012x}", clock=1.0)


def test_gpus_come_in_cudas_order_with_what_both_know():
    found = gpus.with_cuda([listed(1), listed(2), listed(3)], [device(3), device(1)])
    assert [each.name for each in found] == ["gpu 3", "gpu 1", "gpu 2"]
    assert [each.capability for each in found] == [(8, 9), (8, 9), None]
    assert found[0].source == "nvidia-smi"
    assert found[0].total == 8 * GIB


def test_one_gpu_is_the_same_whatever_its_number_and_one_that_only_cuda_knows_is_added():
    [found] = gpus.with_cuda([replace(listed(1), uuid="")], [device(7)])
    assert (found.source, found.capability) == ("nvidia-smi", (8, 9))
    [added] = gpus.with_cuda([], [device(7)])
    assert (added.source, added.total) == ("CUDA driver", 8 * GIB)


@pytest.fixture
def meminfo(tmp_path, monkeypatch):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:        8000 kB\nMemFree:          10 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(gpus, "MEMINFO", path)
    return path


def test_memory_that_cpu_and_gpu_share_is_the_systems(meminfo):
    [found] = gpus.with_cuda([], [device(7, unified=True)])
    assert (found.free, found.total) == (5000 << 10, 8000 << 10)
    meminfo.unlink()
    [found] = gpus.with_cuda([], [device(7, unified=True)])
    assert (found.free, found.total) == (None, 8 * GIB)


@pytest.mark.usefixtures("meminfo")
def test_a_jetsons_gpu_has_the_clocks_of_the_kernel_and_the_power_of_the_module(monkeypatch):
    assert JETSON.jetson is not None
    monkeypatch.setattr(gpus, "gpu_clocks", lambda: {"now": 306.0, "least": 306.0, "most": 1020.0})
    [found] = gpus.with_jetson([], JETSON.jetson, outputs.TEGRA_JETPACK_6_AS_USER)
    assert (found.capability, found.unified, found.free) == ((8, 7), True, 5000 << 10)
    assert (found.clock, found.most_clock, found.power) == (306.0, 1020.0, 4.556)
    assert (found.temperature, found.slowdown) == (48.0, 99.0)


def zone(folder: Path, number: int, kind: str, *trips: tuple[str, int]) -> None:
    path = folder / f"thermal_zone{number}"
    path.mkdir(parents=True)
    (path / "type").write_text(f"{kind}\n")
    for index, (what, degrees) in enumerate(trips):
        (path / f"trip_point_{index}_type").write_text(f"{what}\n")
        (path / f"trip_point_{index}_temp").write_text(f"{degrees}\n")


def test_the_files_of_a_jetson_are_read(tmp_path, monkeypatch):
    zone(tmp_path / "zones", 0, "gpu-thermal", ("passive", 99_000), ("critical", 104_500))
    zone(tmp_path / "zones", 1, "tj-thermal", ("active", 51_000), ("passive", 97_000), ("passive", 99_000))
    zone(tmp_path / "zones", 2, "soc0-thermal", ("critical", 104_500))
    for number, name, count in ((0, "oc1", 0), (1, "oc1", 3), (1, "oc2", 0), (1, "oc3", 12)):
        counter = tmp_path / "hwmon" / f"hwmon{number}" / f"{name}_event_cnt"
        counter.parent.mkdir(parents=True, exist_ok=True)
        counter.write_text(f"{count}\n")
    (tmp_path / "libnvinfer.so.10").write_text("")
    (tmp_path / "libnvinfer.so.10.3.0").write_text("")
    (tmp_path / "python3.10" / "dist-packages" / "tensorrt").mkdir(parents=True)
    (tmp_path / "model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "release").write_text(outputs.RELEASE_JETPACK_6)
    (tmp_path / "modes").write_text(outputs.MODES_ORIN_NANO)
    places = {
        "BOARD": "model",
        "RELEASE": "release",
        "MODES": "modes",
        "ZONES": "zones",
        "HWMON": "hwmon",
        "LIBRARIES": ".",
        "SYSTEM_PACKAGES": ".",
    }
    for name, place in places.items():
        monkeypatch.setattr(jetson, name, tmp_path / place)
    found = jetson.find_jetson(outputs.TEGRA_JETPACK_6_AS_USER, Said(outputs.NVPMODEL_JETPACK_5))
    assert found is not None
    assert (found.board, found.l4t, found.jetpack) == ("NVIDIA Jetson Orin Nano Developer Kit", (36, 4, 3), 6)
    assert (found.mode, found.modes[2]) == (("MODE_15W", 2), "MAXN_SUPER")
    assert found.passive == {"gpu": 99.0, "tj": 97.0}
    assert found.overcurrents == {"oc1": 3, "oc3": 12}
    assert found.temperatures["tj"] == 48.75
    assert (found.tensorrt, found.tensorrt_python) == ("10.3.0", True)
    refused = jetson.find_jetson("", Said("", outputs.NVPMODEL_REFUSED.strip()))
    assert refused is not None
    assert (refused.mode, refused.mode_error) == (None, outputs.NVPMODEL_REFUSED.strip())
    monkeypatch.setattr(jetson, "BOARD", tmp_path / "none")
    assert jetson.find_jetson("", Said("")) is None


def test_the_newest_library_is_the_one_of_the_greatest_number(tmp_path):
    for name in ("8.6.2", "10.3.0", "10.13.1", "10"):
        (tmp_path / f"libnvinfer.so.{name}").write_text("")
    assert jetson.tensorrt_of(tmp_path) == "10.13.1"
    assert jetson.tensorrt_of(tmp_path / "none") == ""


def test_the_driver_is_what_its_library_says_else_what_nvidia_smi_says(monkeypatch):
    monkeypatch.setattr(gather, "has_hardware", lambda: True)
    monkeypatch.setattr(
        gather, "kernel_driver", lambda: "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  made"
    )
    told = {"library": "", "cuda": 12040, "status": 0, "devices": [device(1)]}
    driver, devices = gather.driver_from(Step("driver", DONE, told), Said(""), "")
    assert (driver.kernel, driver.loaded, driver.cuda, driver.works) == ("550.54.14", True, (12, 4), True)
    assert devices == [device(1)]
    monkeypatch.setattr(gather, "kernel_driver", lambda: "")
    crashed = Step("driver", CRASHED, reason="SIGSEGV")
    driver, devices = gather.driver_from(crashed, Said(outputs.SMI_DATA_CENTRE), "")
    assert (driver.kernel, driver.loaded, driver.cuda) == ("580.95.05", False, (13, 0))
    assert (driver.library, driver.works, devices) == (None, False, [])
    mismatch = "Failed to initialize NVML: Driver/library version mismatch"
    driver, _ = gather.driver_from(None, Said("", mismatch), "")
    assert driver.nvml == mismatch
    driver, _ = gather.driver_from(None, Said("", "there is no program nvidia-smi"), "")
    assert driver.nvml == ""


def test_a_library_that_only_has_the_drivers_name_is_red(tmp_path, monkeypatch):
    """As one that an image or a toolkit's folder left: it loads, and is none."""
    source = tmp_path / "part.c"
    source.write_text("int cuDriverGetVersion(int *version) { *version = 12040; return 0; }\n")
    library = tmp_path / "libcuda.so.1"
    subprocess.run([needed("gcc"), "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    found = [each for each in doctor(smoke=False).findings if each.rule == "driver-there"]
    assert [(each.level, each.cure) for each in found] == [(Level.RED, "unset LD_LIBRARY_PATH")]
    assert f"{library} is no CUDA driver, it has no cuInit" in found[0].text


def test_a_card_without_a_driver_is_seen_on_the_bus(tmp_path, monkeypatch):
    monkeypatch.setattr(gather, "DEVICE_FILES", (str(tmp_path / "nvidia0"),))
    monkeypatch.setattr(gather, "PCI", tmp_path)
    assert not gather.has_hardware()
    for name, vendor, kind in (("a", "0x8086", "0x030000"), ("b", "0x10de", "0x040300")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert not gather.has_hardware(), "another maker's card, and a sound device of NVIDIA's"
    (tmp_path / "b" / "class").write_text("0x030200\n")
    assert gather.has_hardware()


def test_what_loading_showed_is_added_to_the_packages():
    packages = {"pycuda": Package("pycuda", "2026.1"), "av": Package("av", "18")}
    steps = {"pycuda": Step("pycuda", DONE, [12, 6, 0]), "av": Step("av", CRASHED, reason="SIGILL")}
    found = gather.with_probe(packages, steps)
    assert found["pycuda"].cuda == 12
    assert found["av"].error == "SIGILL"
    failed = {"pycuda": Step("pycuda", FAILED, reason="ImportError: libcurand.so.9")}
    assert gather.with_probe(packages, failed)["pycuda"].error == "ImportError: libcurand.so.9"


def test_ffmpeg_is_told_from_pyav_and_from_the_program(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program = tmp_path / "ffmpeg"
    version, encoders = (f'cat <<"E"\n{each}E\n' for each in (outputs.FFMPEG_VERSION, outputs.FFMPEG_ENCODERS))
    text = f'if [ "$1" = -version ]; then\n{version}else\n{encoders}fi'
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    found = gather.find_program()
    assert found == ("6.1.1-3ubuntu5", ("libx264", "h264_nvenc"))
    good = gather.media_from(Step("av", DONE, {"libavcodec": "62.28", "encoders": ["libx264"]}), found)
    assert (good.libraries, good.encoders, good.program) == ("62.28", ("libx264",), "6.1.1-3ubuntu5")
    assert gather.media_from(Step("av", CRASHED, reason="SIGILL"), ("", ())).error == "SIGILL"


def test_the_environments_kind_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    assert gather.find_machine().environment == "virtual environment with the system's packages"
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    assert gather.find_machine().environment == "virtual environment"
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert gather.find_machine().environment == "system"


def test_a_program_that_hangs_fails_or_is_not_there_holds_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name, text in (
        ("hangs", "echo first; exec sleep 30"),
        ("fails", "echo it broke >&2; exit 9"),
        ("mute", "exit 3"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    assert programs.said("hangs", seconds=2) == Said("first\n", "hangs did not answer within 2 s")
    assert programs.said("fails").why == "it broke"
    assert programs.said("mute").why == "mute ended with status 3"
    assert programs.said("absent").why == "there is no program absent"
    assert programs.first_line("hangs", seconds=5) == "first"
    assert programs.first_line("absent") == ""


def quiet_steps(*gpus: Gpu) -> list[Step]:
    """What the child process says, through JSON as it does."""
    told = {"library": "", "cuda": 13000, "status": 0, "devices": [device(1)]}
    nvml = json.loads(json.dumps({"gpus": [asdict(gpu) for gpu in gpus], "why": ""}))
    return [Step("nvml", DONE, nvml), Step("driver", DONE, told)]


@pytest.fixture
def quiet_gather(monkeypatch):
    """What takes long is answered at once, as on a machine with a driver and one GPU."""
    monkeypatch.setattr(gather, "run_steps", lambda *_: quiet_steps())
    monkeypatch.setattr(gather, "find_jetson", lambda *_: None)
    monkeypatch.setattr(gather, "find_tegrastats", lambda: None)
    return monkeypatch


def test_nvidia_smi_counts_only_where_nvml_lists_nothing(quiet_gather):
    known = replace(listed(1), source="NVML", capability=(8, 9), throttles=("power cap",))
    quiet_gather.setattr(gather, "run_steps", lambda *_: quiet_steps(known))
    answers = {"nvidia-smi": Said(outputs.SMI_CONSUMER)}
    quiet_gather.setattr(gather, "said", lambda program, *_: answers.get(program, Said("")))
    facts = gather.gather()
    assert facts.gpus == (replace(known, total=8 * GIB),)
    assert facts.driver.nvml == ""
    quiet_gather.setattr(gather, "run_steps", lambda *_: quiet_steps())
    facts = gather.gather()
    assert [(gpu.source, gpu.name) for gpu in facts.gpus] == [("nvidia-smi", "NVIDIA GeForce RTX 3070")]
    assert facts.driver.cuda == (13, 0)


def test_programs_that_hang_do_not_add_up(tmp_path, monkeypatch):
    begun = time.monotonic()
    quiet = doctor(smoke=False)
    without = time.monotonic() - begun
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in ("nvidia-smi", "tegrastats", "nvpmodel", "ffmpeg"):
        (tmp_path / name).write_text("#!/bin/sh\nsleep 60\n")  # whose child keeps the pipe open
        (tmp_path / name).chmod(0o755)
    monkeypatch.setattr(jetson, "BOARD", tmp_path / "model")
    (tmp_path / "model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    begun = time.monotonic()
    found = doctor(smoke=False)
    took = time.monotonic() - begun
    assert found.facts.jetson is not None
    assert found.facts.jetson.mode_error == "nvpmodel did not answer within 1.5 s"
    assert found.facts.driver.nvml in {"nvidia-smi did not answer within 1.5 s", quiet.facts.driver.nvml}
    assert took < without + 3 * programs.SECONDS, "four limits are a sum"
    assert found.seconds <= took
