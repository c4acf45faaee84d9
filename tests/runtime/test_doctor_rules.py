"""Every rule finds its fault on a machine that has it, says what cures it, and is silent on one that has not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from defian_edge.runtime.doctor.facts import Package
from defian_edge.runtime.doctor.findings import Level
from defian_edge.runtime.doctor.rules import RULES, judge
from defian_edge.runtime.doctor.rules.jetson import fastest_mode
from defian_edge.runtime.doctor.rules.pairs import takes_rtx
from defian_edge.runtime.doctor.run import lines_of
from tests.doubles.doctor_cures import is_a_command
from tests.doubles.doctor_facts import BARE, DESKTOP, JETSON, packages

if TYPE_CHECKING:
    from defian_edge.runtime.doctor.facts import Facts

MISSING = "libcuda.so.1: cannot open shared object file: No such file or directory"
SMALL = 200 << 20


def machine(facts: Facts = DESKTOP, **changes) -> Facts:
    return replace(facts, machine=replace(facts.machine, **changes))


def driver(facts: Facts = DESKTOP, **changes) -> Facts:
    return replace(facts, driver=replace(facts.driver, **changes))


def gpu(facts: Facts = DESKTOP, **changes) -> Facts:
    return replace(facts, gpus=(replace(facts.gpus[0], **changes),))


def jetson(**changes) -> Facts:
    assert JETSON.jetson is not None
    return replace(JETSON, jetson=replace(JETSON.jetson, **changes))


def media(**changes) -> Facts:
    return replace(DESKTOP, media=replace(DESKTOP.media, **changes))


def cache(**changes) -> Facts:
    return replace(DESKTOP, cache=replace(DESKTOP.cache, **changes))


def having(facts: Facts = DESKTOP, **versions) -> Facts:
    return replace(facts, packages={**facts.packages, **packages(**versions)})


def lacking(*names: str, facts: Facts = DESKTOP) -> Facts:
    return replace(facts, packages={name: each for name, each in facts.packages.items() if name not in names})


def wheel_at(folder: str) -> Facts:
    """A Jetson with a wheel of TensorRT in a folder of its own."""
    return replace(JETSON, packages=JETSON.packages | {"tensorrt": Package("tensorrt", "10.13.3", folder, 12)})


def without_cuinit(facts: Facts) -> Facts:
    """Nothing is known of the driver but that its library is none."""
    failure = "/opt/x/libcuda.so.1 is no CUDA driver, it has no cuInit"
    return replace(driver(facts, library=None, status=None), crashes={"driver": failure})


def on_cuda_12(**versions) -> Facts:
    return having(driver(BARE, library="", status=0, kernel="550.54.14", cuda=(12, 4), hardware=True), **versions)


XAVIER_NX = {0: "MODE_15W_2CORE", 2: "MODE_15W_6CORE", 6: "MODE_20W_2CORE", 8: "MODE_20W_6CORE"}
RED, YELLOW = Level.RED, Level.YELLOW
CASES: dict[str, list[tuple[Facts, Level, str, str]]] = {
    "python-version": [
        (machine(python=(3, 8, 10)), RED, r"Python 3.10 to 3.13, found 3.8.10", r"-m venv"),
        (machine(python=(3, 14, 0)), RED, r"found 3.14.0", r"-m venv"),
    ],
    "child-processes": [
        (replace(DESKTOP, crashes={"start": "status 1"}), RED, "does not start: status 1", "-X faulthandler"),
    ],
    "cache-rights": [
        (cache(folder=""), YELLOW, "no home folder", "export DEFIAN_CACHE="),
        (cache(doubts=("/c/kernels/k: others may write it",)), YELLOW, "others may write it", "chmod -R go-w "),
        (cache(doubts=("/c: it belongs to another user",)), YELLOW, "another user", "sudo chown -R "),
        (cache(doubts=("/c: it cannot be made: this user may not write /",)), YELLOW, "cannot", "export DEFIAN_CACHE="),
    ],
    "video-libraries": [
        (media(libraries="", error="ImportError: libx.so.9"), RED, "does not load: .*libx", "--force-reinstall .*av"),
        (media(encoders=("libx265",)), RED, "no encoder libx264", "--only-binary av"),
    ],
    "driver-there": [
        (replace(driver(library=None), crashes={"driver": "SIGSEGV"}), RED, "SIGSEGV", "ubuntu-drivers"),
        (without_cuinit(BARE), RED, "no answer: /opt/x/libcuda.so.1 is no CUDA driver", "ubuntu-drivers install"),
        (without_cuinit(machine(BARE, container=True)), RED, "no CUDA driver", "docker run --gpus all"),
        (without_cuinit(machine(BARE, library_path="/a:/opt/x/")), RED, "no CUDA driver", "^unset LD_LIBRARY_PATH$"),
        (driver(library=MISSING, status=None), RED, "module 580.95.05 is loaded, but", "ubuntu-drivers install"),
        (machine(driver(library=MISSING), container=True), RED, "is loaded, but", "docker run --gpus all"),
        (driver(library=MISSING, loaded=False), RED, "a GPU|an NVIDIA GPU, and no driver", "ubuntu-drivers install"),
        (driver(JETSON, library=MISSING), RED, "This is a Jetson", "apt install nvidia-l4t-cuda"),
        (BARE, YELLOW, "graphs run on the CPU", "^$"),
        (machine(BARE, container=True), YELLOW, "graphs run on the CPU", "docker run --gpus all"),
    ],
    "driver-starts": [
        (machine(driver(status=100), visible="7"), RED, "hides every GPU", "unset CUDA_VISIBLE_DEVICES"),
        (machine(driver(status=100), visible=""), RED, "hides every GPU", "unset CUDA_VISIBLE_DEVICES"),
        (machine(driver(status=100), visible="-1"), RED, "CUDA_VISIBLE_DEVICES='-1' hides", "unset CUDA_VISIBLE"),
        (driver(status=100), RED, "finds no GPU, and there is one", "ubuntu-drivers install"),
        (machine(driver(status=100), visible="0,7"), RED, "finds no GPU, and there is one", "ubuntu-drivers install"),
        (driver(status=100, loaded=False), RED, "finds no GPU", "^sudo modprobe nvidia$"),
        (machine(driver(status=100), container=True), RED, "finds no GPU", "docker run --gpus all"),
        (driver(JETSON, status=100), RED, "finds no GPU", "--reinstall nvidia-l4t-cuda"),
        (driver(status=100, hardware=False), YELLOW, "driver and no GPU", "^$"),
        (driver(status=34), RED, "toolkit's stub", "unset LD_LIBRARY_PATH"),
        (driver(status=46), RED, "exclusive use", "sudo nvidia-smi -c DEFAULT"),
        (driver(status=802), RED, "not ready", "nvidia-fabricmanager"),
        (driver(status=803), RED, "different versions", "sudo reboot"),
        (driver(status=804), RED, "forward compatibility", "apt remove 'cuda-compat"),
        (driver(status=999), RED, "state is broken", "modprobe nvidia_uvm"),
        (driver(status=777), RED, "cuInit answers 777", "dmesg"),
    ],
    "one-driver": [
        (driver(nvml="Driver/library version mismatch"), RED, "different versions", "sudo reboot"),
        (replace(DESKTOP, crashes={"nvml": "SIGSEGV"}), RED, "NVML gave no answer: SIGSEGV", "ubuntu-drivers install"),
        (driver(nvml="Insufficient Permissions"), YELLOW, "NVML lists no GPU: Insufficient", "nvidia-smi"),
    ],
    "throttling": [
        (gpu(throttles=("power cap",), power_limit=300.0), YELLOW, "by: power cap", "nvidia-smi -i GPU-1 -pl 450"),
        (gpu(throttles=("power cap",)), YELLOW, "held down by: power cap", "Max Power Limit"),
        (gpu(throttles=("heat (hardware)",)), YELLOW, "heat", "clean the fans"),
        (gpu(throttles=("power cap",), delivered_limit=None), YELLOW, "power cap", "nvidia-smi -q -d POWER"),
    ],
    "near-slowdown": [
        (gpu(temperature=90.0), YELLOW, "90 C hot and slows down at 95 C", "nvidia-smi -q -d TEMPERATURE"),
        (gpu(JETSON, temperature=97.0, slowdown=99.0), YELLOW, "97 C hot", "thermal_zone"),
    ],
    "lowered-power-limit": [
        (gpu(power_limit=300.0), YELLOW, "limit is 300 W; .* with 450 W", "sudo nvidia-smi -i GPU-1 -pl 450"),
    ],
    "little-memory": [
        (gpu(free=SMALL), YELLOW, "200 MiB of its memory, 24576 MiB, are free", "query-compute-apps"),
        (gpu(JETSON, free=SMALL), YELLOW, "200 MiB of the memory that CPU and GPU share", "isolate multi-user"),
    ],
    "power-mode": [
        (jetson(mode=("7W", 3)), YELLOW, "mode is 7W; MAXN_SUPER is this board's fastest", "sudo nvpmodel -m 2$"),
        (jetson(mode=None, mode_error="NVPM ERROR: 13"), YELLOW, "not known: NVPM ERROR: 13", "sudo nvpmodel -q"),
        (jetson(mode=("7W", 1), modes={0: "15W", 1: "7W"}), YELLOW, "15W is this board's fastest", "nvpmodel -m 0$"),
        (jetson(mode=("MODE_15W_2CORE", 0), modes=XAVIER_NX), YELLOW, "MODE_20W_6CORE is", "sudo nvpmodel -m 8$"),
        (jetson(mode=("10W", 1), modes={}), YELLOW, "mode is 10W, and .* not known", "nvpmodel.conf"),
    ],
    "over-current": [
        (jetson(overcurrents={"oc3": 2, "oc1": 9}), YELLOW, r"since it was started \(oc1 9, oc3 2\)", "nvpmodel -m 1 "),
        (jetson(overcurrents={"oc1": 1}, mode=("7W", 3)), YELLOW, "oc1 1", "^grep .*oc.*_event_cnt"),
        (jetson(overcurrents={"oc1": 1}, mode=None, mode_error="13"), YELLOW, "oc1 1", "stronger supply"),
    ],
    "old-jetpack": [
        (jetson(tensorrt="8.6.2", l4t=(36, 3, 0)), RED, "8.6.2; engines need 10.3", "apt dist-upgrade"),
        (jetson(tensorrt="8.5.2", l4t=(35, 4, 1)), RED, "8.5.2; engines need 10.3", "flash JetPack 6.2"),
        (jetson(tensorrt=""), YELLOW, "is not installed", "apt install tensorrt"),
    ],
    "wheel-beside-jetpack": [
        (
            having(lacking("tensorrt", facts=JETSON), tensorrt=("11.0.0", 13), tensorrt_cu13=("11.0.0", 13)),
            RED,
            "wheel tensorrt 11.0.0 lies over JetPack's own 10.3.0",
            "^pip uninstall -y tensorrt tensorrt-cu13$",
        ),
        (wheel_at("/usr/local/lib/python3.10/dist-packages"), RED, "10.13.3 lies over JetPack's own", "^sudo pip unin"),
        (wheel_at("/home/me/.local/lib/python3.10/site-packages"), RED, "10.13.3 lies over", "^pip uninstall"),
        (
            replace(JETSON, packages=JETSON.packages | packages(tensorrt_cu12=("10.13.3", 12))),
            RED,
            "wheel tensorrt-cu12 10.13.3",
            "^pip uninstall -y tensorrt-cu12$",
        ),
    ],
    "jetpack-hidden": [
        (lacking("tensorrt", facts=JETSON), RED, "TensorRT 10.3.0 is not seen", "venv --system-site-packages"),
    ],
    "always-needed": [(lacking("numpy"), RED, "numpy is not installed", "pip install 'numpy>=1.24'")],
    "new-enough": [
        (
            having(pycuda=("2022.2", 13)),
            RED,
            r"pycuda 2024.1 or newer \(extra device\), found 2022.2",
            "pycuda>=2024.1",
        ),
        (having(tensorrt=("8.6.1", 12)), RED, "tensorrt 10.3 or newer .*found 8.6.1", "tensorrt>=10.3"),
    ],
    "something-to-run-with": [
        (lacking("pycuda"), YELLOW, "without pycuda nothing runs them", r"defian-edge\[device\]"),
        (lacking("onnxruntime", facts=BARE), RED, "Nothing is installed", r"defian-edge\[cpu\]"),
        (lacking("onnxruntime-gpu", "tensorrt", "tensorrt-rtx"), RED, "Nothing is installed", r"defian-edge\[gpu\]"),
    ],
    "newer-than-the-driver": [
        (
            on_cuda_12(cuda_bindings=("13.0.1", 13)),
            RED,
            "cuda-bindings 13.0.1 is built for CUDA 13, .* supports CUDA 12.4: it needs a driver 580",
            r"pip install 'cuda-bindings==12\.\*'",
        ),
        (on_cuda_12(onnxruntime_gpu=("1.31.1", 13)), RED, "built for CUDA 13", "onnxruntime-gpu.*<1.27"),
        (on_cuda_12(tensorrt=("11.0", 13), tensorrt_cu13=("11.0", 13)), RED, "^tensorrt 11.0", "tensorrt-cu12>=10.3"),
        (on_cuda_12(tensorrt_rtx=("1.7.1", 13)), RED, "tensorrt-rtx 1.7.1", "tensorrt-rtx-cu12"),
        (on_cuda_12(nvidia_cuda_nvrtc=("13.0", 13)), RED, "nvrtc", "nvidia-cuda-nvrtc-cu12"),
        (on_cuda_12(torch=("2.13.0", 13)), RED, "torch 2.13.0", "whl/cu126"),
        (on_cuda_12(pycuda=("2026.1", 13)), RED, "pycuda 2026.1 is built for CUDA 13", "CUDA_ROOT=/usr/local/cuda-12"),
        (driver(cuda=(11, 8)), RED, "CUDA 11.8", "nvidia:580|CUDA_ROOT=/usr/local/cuda-11"),
    ],
    "two-onnx-runtimes": [
        (
            having(onnxruntime="1.32.0"),
            RED,
            "installed over each other",
            "uninstall -y onnxruntime onnxruntime-gpu && pip",
        ),
        (having(BARE, onnxruntime_gpu="1.31.1"), RED, "over each other", "&& pip install onnxruntime$"),
    ],
    "pycuda-loads": [
        (
            replace(
                DESKTOP, packages=DESKTOP.packages | {"pycuda": Package("pycuda", "2024.1", error="libcurand.so.9")}
            ),
            RED,
            "another toolkit: libcurand.so.9",
            "CUDA_ROOT=/usr/local/cuda-13 .*pycuda",
        ),
    ],
    "rtx-capability": [
        (lacking("tensorrt", facts=gpu(capability=(9, 0))), RED, "no engine on compute capability 9.0", r"\[gpu\]"),
        (gpu(capability=(9, 0)), YELLOW, "TensorRT is here and does", "--target tensorrt"),
    ],
    "tensorrt-capability": [
        (gpu(capability=(7, 0)), RED, "needs compute capability 7.5", "--provider cuda"),
    ],
}


def test_every_rule_has_a_case_a_name_of_its_own_and_a_source():
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
    assert set(names) == set(CASES)
    for rule in RULES:
        assert re.search(r"https://\S+|\w+\.(py|md|toml)", rule.source), rule.name


@pytest.mark.parametrize(
    ("name", "facts", "level", "text", "cure"),
    [
        pytest.param(name, *case, id=f"{name}-{index}")
        for name, cases in CASES.items()
        for index, case in enumerate(cases)
    ],
)
def test_a_fault_is_found_with_what_cures_it(name, facts, level, text, cure):
    found = [finding for finding in judge(facts) if finding.rule == name]
    assert len(found) >= 1
    for finding in found:
        assert finding.level == level
        assert re.search(text, finding.text), finding.text
        assert re.search(cure, finding.cure), finding.cure
        assert level == YELLOW or is_a_command(finding.cure)
    on_the_page = [finding for line in lines_of(facts) for finding in line.findings]
    assert set(found) <= set(on_the_page)
    assert len(on_the_page) == len(judge(facts)), "a finding has no line of the page to stand at"


@pytest.mark.parametrize("facts", [DESKTOP, JETSON], ids=["desktop", "Jetson"])
def test_a_machine_on_which_all_is_well_is_green(facts):
    assert judge(facts) == []
    assert {line.level for line in lines_of(facts)} == {Level.GREEN}


def test_a_computer_without_a_gpu_is_yellow_and_not_red():
    assert [(finding.rule, finding.level) for finding in judge(BARE)] == [("driver-there", YELLOW)]


def test_packages_without_a_driver_are_no_fault():
    """Engines for TensorRT-RTX are built where there is no GPU."""
    assert [finding.rule for finding in judge(having(BARE, tensorrt_rtx=("1.7.1", 13)))] == ["driver-there"]


def test_pycuda_is_not_blamed_for_a_driver_that_is_not_there():
    unloaded = Package("pycuda", "2026.1", error="ImportError: libcuda.so.1: cannot open shared object file")
    facts = replace(BARE, packages=BARE.packages | {"pycuda": unloaded})
    assert [finding.rule for finding in judge(facts)] == ["driver-there"]
    undefined = Package("pycuda", "2026.1", error="ImportError: libcuda.so.1: undefined symbol: cuInit")
    facts = without_cuinit(replace(BARE, packages=BARE.packages | {"pycuda": undefined}))
    assert [finding.rule for finding in judge(facts)] == ["driver-there"]


@pytest.mark.parametrize(
    ("modes", "fastest"),
    [
        ({0: "15W", 2: "MAXN_SUPER"}, (2, "MAXN_SUPER")),
        ({0: "MAXN", 1: "15W"}, (0, "MAXN")),
        ({0: "MAXN", 3: "MAXN_SUPER"}, (3, "MAXN_SUPER")),
        ({0: "15W", 1: "7W"}, (0, "15W")),
        (XAVIER_NX, (8, "MODE_20W_6CORE")),
        ({2: "MODE_15W", 3: "MODE_30W_ALL", 4: "MODE_30W_6CORE"}, (3, "MODE_30W_ALL")),
        ({1: "QUIET"}, None),
    ],
)
def test_the_fastest_mode_is_known_by_its_name_and_not_by_its_number(modes, fastest):
    assert fastest_mode(modes) == fastest


@pytest.mark.parametrize(
    ("mode", "modes"),
    [
        (("15W", 0), {0: "15W", 1: "7W"}),
        (("MODE_20W_6CORE", 8), XAVIER_NX),
        (("20W", 4), {3: "20W", 4: "20W"}),
        (("MAXN", 0), {}),
    ],
)
def test_nothing_is_said_in_the_fastest_mode_of_a_board_whether_it_has_one_without_a_limit_or_not(mode, modes):
    assert [each.text for each in judge(jetson(mode=mode, modes=modes)) if each.rule == "power-mode"] == []


def test_tensorrt_rtx_runs_on_its_targets_and_on_what_is_newer_than_all_of_them():
    assert [takes_rtx(each) for each in ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1), (13, 0))] == [True] * 7
    assert [takes_rtx(each) for each in ((7, 0), (8, 7), (9, 0), (10, 0), (11, 0))] == [False] * 5
