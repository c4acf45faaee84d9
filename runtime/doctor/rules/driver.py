"""The driver: there, of one piece, and able to start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rule import Rule, Verdict, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..facts import Facts

RESULTS = "https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html (CUresult)"
INSTALL = "sudo ubuntu-drivers install && sudo reboot"
CONTAINER = "docker run --gpus all IMAGE (on the host; it needs the NVIDIA Container Toolkit)"
UNKNOWN = "sudo dmesg (what the kernel module said of it)"
"""A question: nothing is known of this answer that a command would cure."""
NO_GPU = 100
"""CUDA_ERROR_NO_DEVICE."""
NOT_STARTED: dict[int, tuple[str, str]] = {
    34: ("the library is the toolkit's stub, and no driver", "unset LD_LIBRARY_PATH (or take its stubs folder out)"),
    46: (
        "the GPU is in exclusive use, or closed to programs",
        "sudo nvidia-smi -c DEFAULT (or end what nvidia-smi lists)",
    ),
    802: ("the system is not ready", "sudo systemctl restart nvidia-fabricmanager"),
    803: ("its library and the kernel module are of different versions", "sudo reboot"),
    804: (
        "the forward compatibility package does not take this GPU",
        "sudo apt remove 'cuda-compat-*' (or start another image)",
    ),
    999: ("its state is broken, as after the machine slept", "sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm"),
}
"""What cuInit's answer means, and what cures it."""


def driver_there(facts: Facts) -> Iterator[Verdict]:
    """A driver, where there is a GPU."""
    driver = facts.driver
    if failure := facts.crashes.get("driver"):
        yield red("driver", f"The CUDA driver gave no answer: {failure}.", _instead_of(failure, facts))
    elif driver.library == "" or driver.library is None:
        return
    elif driver.loaded:
        text = f"The NVIDIA kernel module {driver.kernel} is loaded, but the driver's library is not here: "
        cure = CONTAINER if facts.machine.container else INSTALL
        yield red("driver", f"{text}{driver.library}.", cure)
    elif driver.hardware and facts.jetson is None:
        yield red("driver", "There is an NVIDIA GPU, and no driver for it.", INSTALL)
    elif facts.jetson is not None:
        text = f"This is a Jetson, and its CUDA driver does not load: {driver.library}."
        yield red("driver", text, "sudo apt install nvidia-l4t-cuda")
    else:
        text = "There is no NVIDIA GPU: graphs run on the CPU, engines do not run."
        yield yellow("driver", text, CONTAINER if facts.machine.container else "")


def _instead_of(failure: str, facts: Facts) -> str:
    """Away from the folder that hides the driver, if the failure names one; else the driver anew."""
    folders = [folder.rstrip("/") for folder in facts.machine.library_path.split(":")]
    if any(folder and f"{folder}/" in failure for folder in folders):
        return "unset LD_LIBRARY_PATH"
    return CONTAINER if facts.machine.container else INSTALL


def driver_starts(facts: Facts) -> Iterator[Verdict]:
    """A driver that starts."""
    driver, visible = facts.driver, facts.machine.visible
    if driver.library or driver.status in (None, 0):
        return
    if driver.status != NO_GPU:
        why, cure = NOT_STARTED.get(driver.status, ("for a reason that is not known here", UNKNOWN))
        yield red("driver", f"The CUDA driver does not start: {why} (cuInit answers {driver.status}).", cure)
    elif visible is not None and _hides_all(visible, len(facts.gpus)):
        yield red("driver", f"CUDA_VISIBLE_DEVICES={visible!r} hides every GPU.", "unset CUDA_VISIBLE_DEVICES")
    elif driver.hardware:
        yield red("driver", "The CUDA driver finds no GPU, and there is one.", _found_again(facts))
    else:
        yield yellow("driver", "There is a CUDA driver and no GPU: graphs run on the CPU, engines do not run.")


def _hides_all(visible: str, gpus: int) -> bool:
    """Whether CUDA_VISIBLE_DEVICES begins with what is no GPU's number: CUDA takes those before it alone."""
    first = visible.partition(",")[0].strip()
    return first[:1] in {"", "-"} or (first.isdecimal() and int(first[:9]) >= max(gpus, 1))


def _found_again(facts: Facts) -> str:
    """What gives a driver that starts the GPU which is there."""
    if facts.jetson is not None:
        return "sudo apt install --reinstall nvidia-l4t-cuda && sudo reboot"
    if facts.machine.container:
        return CONTAINER
    return INSTALL if facts.driver.loaded else "sudo modprobe nvidia"


def one_driver(facts: Facts) -> Iterator[Verdict]:
    """A kernel module and libraries of one version, whose NVML answers."""
    if "version mismatch" in facts.driver.nvml.lower():
        text = f"The kernel module and the libraries of the driver are of different versions: {facts.driver.nvml}."
        yield red("driver", text, "sudo reboot")
    elif failure := facts.crashes.get("nvml"):
        yield red("driver", f"NVML gave no answer: {failure}.", _instead_of(failure, facts))
    elif facts.driver.nvml and facts.jetson is None:
        yield yellow("driver", f"NVML lists no GPU: {facts.driver.nvml}.", "nvidia-smi")


DRIVER_RULES = (
    Rule(
        "driver-there",
        "https://documentation.ubuntu.com/server/how-to/graphics/install-nvidia-drivers/; "
        "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html",
        driver_there,
    ),
    Rule("driver-starts", RESULTS, driver_starts),
    Rule(
        "one-driver",
        "https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceEnumvs.html (NVML_ERROR_LIB_RM_VERSION_MISMATCH)",
        one_driver,
    ),
)
