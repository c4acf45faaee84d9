"""compute-sanitizer over the eigenvalue kernel: no access out of bounds, no race in shared memory."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from defian_edge.selftest.gpu import open_gpu
from defian_edge.selftest.protocol import CannotRun
from defian_edge.selftest.runner import ROOT

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings

TOOLS = ("memcheck", "racecheck")
SUMMARY = re.compile(r"(?:ERROR SUMMARY|RACECHECK SUMMARY): (\d+)")
WORK = "from defian_edge.selftest.stages.sanitizer import launch_all; launch_all()"


def run(_settings: Settings, record: Record) -> None:
    """Both tools over the launches that the stage ``kernel`` checks."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise CannotRun("compute-sanitizer is not on the PATH; it comes with the CUDA toolkit.")
    with open_gpu():
        pass
    for tool in TOOLS:
        done = subprocess.run(
            [program, "--tool", tool, sys.executable, "-c", WORK], capture_output=True, text=True, check=False, cwd=ROOT
        )
        found = SUMMARY.search(done.stdout)
        print(done.stdout[-3000:], done.stderr[-3000:])
        if found is None:
            record.note(f"{tool}: {(done.stdout or done.stderr).strip()[-400:]}")
            raise CannotRun(f"compute-sanitizer {tool} gave no summary.")
        record.check(f"{tool}: exit status of the program", done.returncode, at_most=0)
        record.check(f"{tool} errors", int(found.group(1)), at_most=0)


def launch_all() -> None:
    """Every kernel on every shape that is checked."""
    from defian_edge.runtime.plugin.device import load_kernels
    from defian_edge.selftest.stages.kernel import CHECKED, error_of

    with open_gpu() as gpu:
        kernels = load_kernels(gpu.driver)
        for shape in CHECKED:
            for precision in ("fp32", "fp16"):
                for channels_last in (False, True):
                    error = error_of(gpu, kernels, shape, precision, channels_last=channels_last)
                    if not error <= 1.0:
                        raise RuntimeError(f"{shape} {precision}: {error} times the error that is allowed")
