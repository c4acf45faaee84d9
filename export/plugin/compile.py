"""nvcc: the fatbin for all targets, and the compiler's own report of what each kernel costs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin.binary import COMPILE_FLAGS, ENTRY, FATBIN, FATBIN_RECORD, source_digest, source_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

ARCHITECTURES = (75, 80, 86, 87, 89, 90, 100, 120)
STRICT_FLAGS = ("--Werror", "all-warnings", "-Xptxas", "-v")
SPILLS_ALLOWED = {"f32": 0, "f16": 80}
"""Bytes that a thread may store to or load from spilled registers.

The FP16 kernels hold 27 sums and a product's factors in 80 registers, so that three blocks share a multiprocessor. On
sm_90 that costs seven accesses a chunk, among some 1000 instructions; with 128 registers and two blocks nvcc spills as
well. On an H100 the form with ptxas -O1, which spills nothing, took 50.1 us where this one took 48.1.
"""

_ENTRY_LINE = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
_STACK_LINE = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED_LINE = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True)
class KernelReport:
    """What ptxas says of one kernel on one architecture; spills and stack in bytes per thread."""

    architecture: int
    kernel: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def find_nvcc() -> str:
    """Path of nvcc: ``$CUDA_HOME/bin/nvcc``, or the one on PATH.

    Raises:
        DefianError: there is none.
    """
    home = os.environ.get("CUDA_HOME")
    found = shutil.which("nvcc", path=f"{home}/bin") if home else None
    found = found or shutil.which("nvcc")
    if found is None:
        hint = "Install the CUDA toolkit and put nvcc on PATH, or set CUDA_HOME; NVRTC at first use needs neither."
        raise DefianError("Building the eigenvalue kernel needs nvcc, which was not found.", hint)
    return found


def compile_report(architectures: Iterable[int] = ARCHITECTURES) -> list[KernelReport]:
    """Compile every kernel for every architecture, any warning or larger spill being an error.

    Raises:
        DefianError: nvcc is missing, or it reports a warning, a spill above ``SPILLS_ALLOWED`` or an error.
    """
    reports: list[KernelReport] = []
    with tempfile.TemporaryDirectory() as folder:
        for architecture in architectures:
            output = Path(folder) / f"sm_{architecture}.cubin"
            reports += _compile("-cubin", f"-arch=sm_{architecture}", "-o", str(output))
    return reports


def parse_report(said: str) -> list[KernelReport]:
    """The reports in what ``nvcc -Xptxas -v`` printed."""
    reports: list[KernelReport] = []
    kernel, architecture, stack, stores, loads = "", 0, 0, 0, 0
    for line in said.splitlines():
        if found := _ENTRY_LINE.search(line):
            kernel, architecture = found[1], int(found[2])
        elif found := _STACK_LINE.search(line):
            stack, stores, loads = (int(number) for number in found.groups())
        elif (found := _USED_LINE.search(line)) and kernel:
            reports.append(KernelReport(architecture, kernel, int(found[1]), stack, stores, loads))
            kernel = ""
    return reports


def build_fatbin(folder: Path | None = None, architectures: Iterable[int] = ARCHITECTURES) -> Path:
    """Build the fatbin, and the record of the source that it was built from.

    Machine code for each architecture, and PTX of the oldest that the driver can translate for any newer one.

    Args:
        folder: where to; the installed package's own folder by default, where the runtime looks first.
        architectures: compute capabilities without the dot, such as 87.
    """
    wanted = sorted(set(architectures))
    targets = [f"-gencode=arch=compute_{each},code=sm_{each}" for each in wanted]
    targets.append(f"-gencode=arch=compute_{wanted[0]},code=compute_{wanted[0]}")
    folder = folder or source_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        building = Path(name)
        _compile("-fatbin", *targets, "-o", str(building / FATBIN))
        record = {"source_sha256": source_digest(), "architectures": wanted, "nvcc": nvcc_version()}
        (building / FATBIN_RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        for made in (FATBIN, FATBIN_RECORD):
            (building / made).replace(folder / made)
    return folder / FATBIN


def nvcc_version() -> str:
    """The release, such as ``13.0``."""
    answer = subprocess.run([find_nvcc(), "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"release ([\d.]+)", answer)
    return found[1] if found else "unknown"


def refuse_spills(reports: Iterable[KernelReport]) -> None:
    """Refuse what costs more than the spills that were measured.

    Raises:
        DefianError: a kernel spills more bytes than ``SPILLS_ALLOWED`` has for its type.
    """
    for report in reports:
        allowed = next(most for element, most in SPILLS_ALLOWED.items() if f"_{element}_" in report.kernel)
        if max(report.spill_stores, report.spill_loads) > allowed:
            raise DefianError(f"nvcc spills registers, and {allowed} bytes are allowed: {report}")


def _compile(*arguments: str) -> list[KernelReport]:
    command = [find_nvcc(), *COMPILE_FLAGS, *STRICT_FLAGS, *arguments, str(source_folder() / ENTRY)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    if done.returncode != 0:
        raise DefianError(f"nvcc failed on the eigenvalue kernel:\n{said.strip()}", "Run: " + " ".join(command))
    reports = parse_report(said)
    refuse_spills(reports)
    return reports
