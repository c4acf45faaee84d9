"""Which binary of the kernel a device gets: ahead of time, cached, or by NVRTC, whichever the driver takes first."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from defian_edge.export.plugin.cpu_kernel import CpuKernel
from defian_edge.runtime.cache import keep, read_cached
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin import binary
from defian_edge.runtime.plugin.device import TOOLKIT_HINT, load_kernels
from defian_edge.runtime.plugin.launch import KERNELS
from tests.conftest import needed
from tests.doubles.launch_driver import LaunchDriver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = b"".join(name.encode() for name in KERNELS)
AHEAD, CACHED, COMPILED = (kind + NAMES for kind in (b"ahead of time", b"cached", b"compiled"))


@pytest.fixture(scope="module")
def cpu_kernel(tmp_path_factory: pytest.TempPathFactory) -> CpuKernel:
    needed("g++")
    return CpuKernel(tmp_path_factory.mktemp("cpu_kernel"))


@pytest.fixture
def driver(cpu_kernel: CpuKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LaunchDriver:
    """The stand-in for a device of 8.7; a fatbin for it, an empty cache, and an NVRTC that works."""
    monkeypatch.setattr(binary, "source_folder", lambda: tmp_path)
    monkeypatch.setattr(binary, "source_digest", lambda: "of this source")
    monkeypatch.setattr(binary, "compile_with_nvrtc", lambda _: COMPILED)
    monkeypatch.setenv(binary.CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / binary.FATBIN).write_bytes(AHEAD)
    record(tmp_path, 75, 87)
    return LaunchDriver(cpu_kernel)


def record(folder: Path, *architectures: int) -> None:
    text = json.dumps({"source_sha256": "of this source", "architectures": architectures})
    (folder / binary.FATBIN_RECORD).write_text(text)


def cached(folder: Path) -> Path:
    path = folder / "cache" / "kernels" / "hessian-of this source-sm87.cubin"
    keep(path, CACHED)
    return path


def tried(driver: LaunchDriver) -> list[bytes]:
    load_kernels(driver)
    return [call[1] for call in driver.calls if call[0] == "library"]


def no_nvrtc(_: tuple[int, int]) -> bytes:
    raise DefianError("the NVRTC library was not found", "pip install nvidia-cuda-nvrtc")


@pytest.mark.parametrize("architectures", [(87,), (75, 120), (80, 86), (75,)])
def test_a_fatbin_is_used_where_its_machine_code_or_ptx_fits(
    driver: LaunchDriver, tmp_path: Path, architectures: tuple[int, ...]
) -> None:
    record(tmp_path, *architectures)
    assert tried(driver) == [AHEAD]


def test_a_fatbin_for_newer_devices_alone_is_passed_over(driver: LaunchDriver, tmp_path: Path) -> None:
    record(tmp_path, 89, 120)
    assert tried(driver) == [COMPILED]


@pytest.mark.parametrize("refusal", ["refused", "unfit"])
def test_what_the_driver_refuses_is_tried_once_and_the_next_place_follows(
    driver: LaunchDriver, tmp_path: Path, refusal: str
) -> None:
    file = cached(tmp_path)
    getattr(driver, refusal).update({AHEAD, CACHED})
    assert tried(driver) == [AHEAD, CACHED, COMPILED]
    assert read_cached(file) == COMPILED
    assert tried(driver) == [AHEAD, CACHED, COMPILED]  # the choice is kept for the process


def too_new(driver: LaunchDriver, folder: Path) -> None:
    del driver
    record(folder, 89)


def refused(driver: LaunchDriver, folder: Path) -> None:
    del folder
    driver.refused.add(AHEAD)


@pytest.mark.parametrize(
    ("spoil", "said"), [(too_new, "code for sm_89 and newer"), (refused, "CUDA_ERROR_INVALID_IMAGE")]
)
def test_without_any_code_that_fits_the_error_names_every_attempt(
    driver: LaunchDriver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[LaunchDriver, Path], None],
    said: str,
) -> None:
    spoil(driver, tmp_path)
    monkeypatch.setattr(binary, "compile_with_nvrtc", no_nvrtc)
    with pytest.raises(DefianError, match="no kernel that runs on this device, sm_87") as raised:
        load_kernels(driver)
    ahead, cache, nvrtc = raised.value.message.splitlines()[1:]
    assert binary.FATBIN in ahead
    assert said in ahead
    assert "the cache" in cache
    assert "nothing of this source" in cache
    assert "NVRTC: the NVRTC library was not found" in nvrtc
    assert raised.value.hint == "pip install nvidia-cuda-nvrtc"


def test_where_the_driver_refuses_nvrtcs_code_too_the_hint_is_the_toolkits_version(driver: LaunchDriver) -> None:
    driver.unfit.update({AHEAD, COMPILED})
    with pytest.raises(DefianError, match="CUDA_ERROR_NO_BINARY_FOR_GPU") as raised:
        load_kernels(driver)
    assert raised.value.hint == TOOLKIT_HINT
