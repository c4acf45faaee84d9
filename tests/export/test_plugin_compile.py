"""nvcc and NVRTC on the kernel: every architecture, no warning, no spill, and a fatbin that the runtime takes."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import pytest

from defian_edge.export.plugin import compile as compiling
from defian_edge.export.plugin.__main__ import main
from defian_edge.export.plugin.compile import (
    ARCHITECTURES,
    SPILLS_ALLOWED,
    KernelReport,
    build_fatbin,
    compile_report,
    find_nvcc,
    parse_report,
    refuse_spills,
)
from defian_edge.export.plugin.occupancy import MULTIPROCESSORS, occupancy
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin import binary
from defian_edge.runtime.plugin.launch import KERNELS, block_of

if TYPE_CHECKING:
    from pathlib import Path


def nvcc_is_here() -> bool:
    try:
        find_nvcc()
    except DefianError:
        return False
    return True


needs_nvcc = pytest.mark.skipif(not nvcc_is_here(), reason="nvcc is neither on PATH nor below CUDA_HOME")


def nvrtc_is_here() -> bool:
    try:
        importlib.import_module("cuda.bindings.nvrtc").nvrtcVersion()
    except (ImportError, RuntimeError):
        return False
    return True


def first_image(capability: tuple[int, int], cache: Path | None = None) -> bytes | None:
    """What the first place that has something gives."""
    return next(image for _, read in binary.kernel_images(capability, cache) if (image := read()) is not None)


@needs_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nvcc_compiles_every_kernel_with_no_warning_and_no_larger_spill(architecture: int) -> None:
    reports = compile_report([architecture])
    assert sorted(report.kernel for report in reports) == sorted(KERNELS)
    for report in reports:
        spills = (report.stack, report.spill_stores, report.spill_loads)
        assert max(spills) <= SPILLS_ALLOWED["f16" if "_f16_" in report.kernel else "f32"], report
        block = block_of(report.kernel)
        shared = block.shared_bytes[block.vectors(MULTIPROCESSORS[architecture].shared_per_block)]
        assert occupancy(architecture, report.registers, block.threads, shared).blocks >= 1, report


def test_a_spill_in_the_compiler_report_is_read() -> None:
    said = """
ptxas info    : Compiling entry function 'one' for 'sm_75'
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers
"""
    (report,) = parse_report(said)
    assert (report.architecture, report.kernel, report.registers, report.stack) == (75, "one", 128, 8)
    assert (report.spill_stores, report.spill_loads) == (4, 12)


@pytest.mark.parametrize(("element", "allowed"), SPILLS_ALLOWED.items())
def test_a_larger_spill_than_the_measured_one_is_refused(element: str, allowed: int) -> None:
    name = f"max_hessian_eigenvalue_{element}_linear"
    refuse_spills([KernelReport(90, name, 80, 96, allowed, allowed)])
    for stores, loads in ((allowed + 4, 0), (0, allowed + 4)):
        with pytest.raises(DefianError, match=f"{allowed} bytes are allowed"):
            refuse_spills([KernelReport(90, name, 80, 96, stores, loads)])


@pytest.mark.parametrize(
    ("registers", "threads", "shared", "warps"),
    [(32, 256, 0, 48), (128, 256, 0, 16), (128, 512, 0, 16), (64, 256, 60 * 1024, 8), (255, 1024, 0, 0)],
)
def test_occupancy_follows_the_tightest_limit(registers: int, threads: int, shared: int, warps: int) -> None:
    assert occupancy(86, registers, threads, shared).warps == warps


def test_every_target_has_its_limits() -> None:
    assert set(ARCHITECTURES) == set(MULTIPROCESSORS)


@needs_nvcc
def test_the_runtime_takes_a_fatbin_of_its_own_source_and_leaves_a_stale_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (binary.ENTRY, *binary.HEADERS):
        (tmp_path / name).write_bytes((binary.source_folder() / name).read_bytes())
    monkeypatch.setattr(binary, "source_folder", lambda: tmp_path)
    assert binary.ahead_of_time_image((8, 7)) is None
    fatbin = build_fatbin(tmp_path, [87])
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix in {".fatbin", ".json"}) == [
        "kernel.fatbin",
        "kernel.fatbin.json",
    ]
    assert binary.ahead_of_time_image((8, 7)) == fatbin.read_bytes()
    assert binary.ahead_of_time_image((12, 0)) == fatbin.read_bytes()  # by its PTX
    with pytest.raises(DefianError, match="code for sm_87 and newer, and the device is sm_86"):
        binary.ahead_of_time_image((8, 6))
    assert fatbin.read_bytes()[:4] == (0xBA55ED50).to_bytes(4, "little")
    (tmp_path / "tensor_tile.h").write_bytes((tmp_path / "tensor_tile.h").read_bytes() + b"// changed\n")
    assert binary.ahead_of_time_image((8, 7)) is None


def test_a_missing_nvcc_is_said_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda *_, **__: None)
    assert main(["build"]) == 2
    assert "CUDA toolkit" in capsys.readouterr().err


def test_a_kernel_is_compiled_once_and_then_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[int, int]] = []

    def compile_it(capability: tuple[int, int]) -> bytes:
        compiled.append(capability)
        return b"cubin %d%d" % capability

    monkeypatch.setattr(binary, "ahead_of_time_image", lambda _: None)
    monkeypatch.setattr(binary, "compile_with_nvrtc", compile_it)
    monkeypatch.setenv(binary.CACHE_VARIABLE, str(tmp_path))
    for _ in range(2):
        assert first_image((8, 7)) == b"cubin 87"
        assert first_image((8, 9)) == b"cubin 89"
    assert compiled == [(8, 7), (8, 9)]
    assert len(list((tmp_path / "kernels").iterdir())) == 2


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "ahead_of_time_image", lambda _: None)
    monkeypatch.setattr(binary, "compile_with_nvrtc", lambda _: b"cubin")
    (tmp_path / "file").touch()
    assert first_image((8, 7), tmp_path / "file") == b"cubin"


@pytest.mark.skipif(not nvrtc_is_here(), reason="cuda-bindings or the NVRTC library is not installed")
@pytest.mark.parametrize("capability", [(7, 5), (8, 7), (12, 0)])
def test_nvrtc_compiles_all_kernels_with_no_toolkit(capability: tuple[int, int]) -> None:
    cubin = binary.compile_with_nvrtc(capability)
    assert cubin.startswith(b"\x7fELF")
    assert all(name.encode() in cubin for name in KERNELS)


class _NoLibrary:
    """cuda.bindings.nvrtc where the NVRTC library itself is missing."""

    @staticmethod
    def nvrtcVersion() -> None:  # noqa: N802
        raise RuntimeError("Failed to dlopen libnvrtc.so.13")


@pytest.mark.parametrize(("module", "package"), [(None, "defian-edge"), (_NoLibrary, "nvidia-cuda-nvrtc")])
def test_without_any_binary_or_nvrtc_the_error_says_what_to_install(
    module: object, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binary, "ahead_of_time_image", lambda _: None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvrtc", module)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DefianError) as raised:
        first_image((8, 7), tmp_path)
    assert "pip install" in raised.value.hint
    assert package in raised.value.hint
    assert not list(tmp_path.iterdir())
