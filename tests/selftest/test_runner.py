from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.selftest.protocol import Settings, out_of_memory
from defian_edge.selftest.report import SCHEMA_FILE, Outcome, Report, read_report
from defian_edge.selftest.runner import run_stages
from tests.conftest import REPOSITORY
from tests.selftest.made_up import NAMES, stage


def valid(path: Path) -> dict:
    report = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    return report


def run(tmp_path, stages, budget=100.0):
    """The report of these stages, the lines that were said, and the number of stages in the file at every save."""
    report, said, saved = Report("2026-11-26T12:00:00+00:00", budget, "a test"), [], []
    path = tmp_path / "report.json"

    def save() -> None:
        report.write(path)
        saved.append(len(valid(path)["stages"]))

    run_stages(stages, Settings(str(tmp_path)), report, save, said.append)
    return {each["name"]: each for each in valid(path)["stages"]}, said, saved


@pytest.fixture(scope="module")
def every_way(tmp_path_factory):
    return run(
        tmp_path_factory.mktemp("ways"), [stage(name, limit=4 if name in ("sleeps", "dozes") else 30) for name in NAMES]
    )


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("measures", "passed", ""),
        ("wrong", "failed", ""),
        ("lacks", "skipped", "There is no such card."),
        ("package", "skipped", "The Python package no_such_package_anywhere is not installed."),
        ("breaks", "failed", "ValueError: a bug"),
        ("dies", "failed", "It was ended by signal 11."),
        ("own", "failed", "The module defian_edge.export.no_such_room of this repository is missing."),
        ("sleeps", "skipped", "Time: it was ended after 4 s."),
        ("dozes", "passed", "Time: it was ended after 4 s."),
        ("idle", "skipped", "It found nothing to hold against a limit."),
        ("memory", "skipped", "The GPU, or this machine, has too little free memory: "),
    ],
)
def test_a_stage_that_lacks_something_is_skipped_and_one_that_is_wrong_or_broken_fails(every_way, name, status, reason):
    outcome = every_way[0][name]
    assert outcome["status"] == status
    assert outcome["reason"].startswith(reason)
    assert bool(reason) == bool(outcome["reason"])


def test_what_a_stage_measured_before_it_ended_badly_is_kept(every_way):
    stages = every_way[0]
    assert stages["measures"]["figures"]["infinite"] is None  # JSON has no infinity
    assert all(stages[name]["figures"]["kept"] == 1 for name in ("wrong", "breaks", "dies"))
    assert [check["passed"] for check in stages["wrong"]["checks"]] == [False, False]
    assert "its last words" in stages["breaks"]["output"]
    assert "ValueError: a bug" in stages["breaks"]["output"]
    assert stages["measures"]["output"] == ""


def test_the_file_is_written_after_every_stage_and_a_line_is_said(every_way):
    _, said, saved = every_way
    assert saved == [*range(1, len(NAMES) + 1), len(NAMES)]
    assert sum(line.lstrip().startswith(("ok ", "WRONG ", "- ")) for line in said) == len(NAMES)
    assert any("too large, not a number" in line for line in said)


def test_no_process_of_a_stage_outlives_it(every_way):
    child = every_way[0]["sleeps"]["figures"]["child"]
    for _ in range(50):
        if not Path(f"/proc/{child}").exists() or "State:\tZ" in Path(f"/proc/{child}/status").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the stage's child is still alive")


def test_stages_for_which_no_time_is_left_say_so(tmp_path):
    stages, _, _ = run(tmp_path, [stage("measures", least=1), stage("wrong", least=50)], budget=20.0)
    assert stages["measures"]["figures"]["seconds"] <= 18.0
    assert stages["wrong"]["status"] == "skipped"
    assert "it needs 50 s at least" in stages["wrong"]["reason"]


def command(*arguments, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selftest", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        **options,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stage", "kernels"], "No stage 'kernels': expected one of environment, kernel, "),
        (["--budget", "0"], "--budget '0': expected seconds from 1 to 1,000,000"),
        (["--budget", "nan"], "--budget 'nan': expected seconds from 1 to 1,000,000"),
        (["--budget", "inf"], "--budget 'inf': expected seconds from 1 to 1,000,000"),
        (["--set5", "no/such/folder"], "--set5 no/such/folder: expected a folder, found none."),
        (["--out", "/proc/selftest"], "The output folder /proc/selftest cannot be written"),
        (["--stage", "kernel", "--skip", "kernel"], "No stage is left to run."),
        (["--add-to", "/etc/hostname"], "expected a report of the selftest"),
    ],
)
def test_bad_input_ends_with_status_2_and_one_message(arguments, words, tmp_path):
    done = command("--out", tmp_path, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_dry_run_names_every_stage_with_its_time_and_writes_nothing(tmp_path):
    done = command("--dry-run", "--out", tmp_path / "new", "--budget", "100")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[1].split()[:5] == ["environment", "3", "to", "30", "s"]
    assert "may find no time left" in done.stdout
    assert lines[-1] == "at most 100 s in all"
    assert not (tmp_path / "new").exists()


def test_sigterm_ends_the_stage_and_keeps_the_report(tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-m", "selftest", "--out", str(tmp_path), "--stage", "gpu-tests"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (found := list(tmp_path.glob("selftest-*.json"))):
        time.sleep(0.05)
    time.sleep(0.5)
    running.send_signal(signal.SIGTERM)
    _, stderr = running.communicate(timeout=30)
    assert running.returncode == 143
    assert "Traceback" not in stderr
    assert valid(found[0])["finished"] is False
    assert [path.name for path in tmp_path.iterdir()] == [found[0].name]


def test_stages_are_added_to_an_earlier_report_in_the_place_of_their_earlier_outcomes(tmp_path):
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    assert command("--out", tmp_path, "--stage", "sanitizer", "--stage", "training", env=environment).returncode == 0
    [path] = tmp_path.glob("*.json")
    assert command("--out", tmp_path, "--add-to", path, "--stage", "training", env=environment).returncode == 0
    assert [each["name"] for each in valid(path)["stages"]] == ["training", "sanitizer", "environment"]
    assert list(tmp_path.iterdir()) == [path]


def of_card(name: str) -> Outcome:
    return Outcome("environment", "", "passed", figures={"machine": {"card": {"name": name}}})


def test_a_report_is_of_one_card():
    report = Report("2026-11-26T12:00:00+00:00", 1.0, "a test")
    report.put(of_card("NVIDIA One"))
    report.put(Outcome("kernel", "", "passed"))
    report.put(of_card("NVIDIA One"))
    assert [each.name for each in report.outcomes] == ["environment", "kernel"]
    with pytest.raises(DefianError, match="The report is of NVIDIA One, and this machine has NVIDIA Two"):
        report.put(of_card("NVIDIA Two"))


def test_a_reader_that_goes_away_ends_no_run(tmp_path):
    shell = f"{sys.executable} -m selftest --out {tmp_path} --stage training --stage sanitizer | head -c 1"
    subprocess.run([str(shutil.which("bash")), "-c", shell], check=True, capture_output=True, cwd=REPOSITORY)
    [path] = tmp_path.iterdir()
    assert valid(path)["finished"]


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "The CUDA driver answered cuMemAlloc with CUDA_ERROR_OUT_OF_MEMORY.",
        "Failed to allocate memory for requested buffer of size 4976640",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)",
        "x.engine: expected 900 MiB of free GPU memory, found 200 MiB of 2048 MiB.",
        "TensorRT failed at loading x. The GPU has too little free memory. It said: nothing",
        "Not enough memory for an LR batch of 1x720x1280",
        "The GPU has no memory left for upscaling 1x720x1280 (cuMemAlloc failed).",
    ],
)
def test_too_little_memory_is_known_by_its_many_words(said):
    assert out_of_memory(said)
    assert not out_of_memory("an illegal memory access was encountered")


def test_a_report_of_another_schema_is_refused(tmp_path):
    path = tmp_path / "report.json"
    Report("2026-11-26T12:00:00+00:00", 1.0, "a test").write(path)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(DefianError, match="expected a report of schema 1, found 2"):
        read_report(path)
