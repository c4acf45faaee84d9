"""The command and the function: the page, the file, the statuses, a device with ``runtime/`` alone, and crashes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

import defian_edge as de
from defian_edge.runtime.doctor import command, run
from defian_edge.runtime.doctor.diagnosis import Diagnosis
from defian_edge.runtime.doctor.facts import Package
from defian_edge.runtime.doctor.findings import Finding, Level, Line
from defian_edge.runtime.doctor.packages import EXTRAS
from defian_edge.runtime.doctor.smoke import STEPS
from defian_edge.runtime.doctor.steps import CRASHED, DONE, Step
from tests.conftest import REPOSITORY
from tests.doubles.deployment import deploy, run_alone
from tests.doubles.doctor_facts import DESKTOP, JETSON

BAD = Finding(Level.RED, "driver", "It is broken.", "sudo reboot", "one-driver", "https://x")
ODD = Finding(Level.YELLOW, "gpu 0", "It is hot \x1b[31m.", "clean the fans", "near-slowdown", "https://x")


def diagnosis(*findings: Finding) -> Diagnosis:
    lines = (
        Line("driver", "580", tuple(f for f in findings if f.area == "driver")),
        Line("gpu 0", "RTX", findings[1:]),
    )
    return Diagnosis(lines, DESKTOP, 0.5)


def test_the_page_says_what_is_wrong_and_what_cures_it_below_what_was_found():
    page = str(diagnosis(BAD, ODD)).splitlines()
    assert page[1:4] == ["FAIL  driver    580", " " * 16 + "It is broken.", " " * 16 + "-> sudo reboot"]
    assert page[4].startswith("warn  gpu 0     RTX")
    assert "\\x1b[31m" in page[5], "control characters are escaped"
    assert page[-1] == "0 green, 1 yellow, 1 red; 0.5 s"
    assert "\x1b" not in "".join(page)
    assert "\x1b[31;1mFAIL\x1b[0m" in diagnosis(BAD).page(colour=True)


def test_a_cure_is_never_broken_over_lines():
    cure = "sudo " + "word " * 60
    assert f"-> {cure}" in str(diagnosis(replace(BAD, cure=cure)))
    assert max(len(line) for line in str(diagnosis(replace(BAD, text="word " * 90))).splitlines()) <= 118


@pytest.mark.parametrize(("findings", "status"), [((), 0), ((ODD,), 0), ((BAD,), 1), ((BAD, ODD), 1)])
def test_the_status_is_1_if_something_is_red(monkeypatch, tmp_path, capsys, findings, status):
    lines = (Line("driver", "580", findings),)
    monkeypatch.setattr(command, "doctor", lambda *_, **__: Diagnosis(lines, DESKTOP, 0.1, 0.2))
    with pytest.raises(SystemExit) as ended:
        command.main(["--json", str(tmp_path / "found.json")])
    assert ended.value.code == status
    kept = json.loads((tmp_path / "found.json").read_text())
    assert kept["level"] == ("green", "yellow", "red")[max((finding.level for finding in findings), default=0)]
    assert [each["rule"] for each in kept["lines"][0]["findings"]] == [finding.rule for finding in findings]
    assert kept["facts"] == json.loads(json.dumps(asdict(DESKTOP)))
    assert "smoke test 0.2 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "."], "--json .: expected a file, found a folder"),
        ([""], "ENGINE: expected a path, found an empty one"),
        (["--json", "/proc/none/x.json"], "--json"),
        (["a.onnx", "b.onnx"], "unrecognized arguments"),
    ],
)
def test_bad_usage_ends_with_status_2_before_anything_is_asked(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(command, "doctor", lambda *_, **__: pytest.fail("it was asked"))
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_no_package_but_pythons_own_is_imported_for_the_page():
    """So that it can tell that numpy is missing, or does not load."""
    code = "import sys, defian_edge.runtime.doctor.command; print({'numpy', 'PIL', 'rich', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "set()\n"


def test_what_loads_native_libraries_is_loaded_in_another_process():
    code = (
        "import sys; from defian_edge.runtime.doctor.run import doctor; doctor(smoke=False); "
        "print({'numpy', 'PIL', 'av', 'pynvml', 'pycuda'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "set()\n"


def test_on_a_device_that_has_runtime_alone_everything_is_told(tmp_path):
    deploy(tmp_path)
    done = run_alone(tmp_path, {"numpy", "PIL"}, ["doctor", "--json", "found.json"])
    assert done.stderr == ""
    assert done.returncode in (0, 1)
    kept = json.loads((tmp_path / "found.json").read_text())
    assert {"python", "driver", "packages", "caches", "video", "smoke"} <= {line["area"] for line in kept["lines"]}
    assert kept["facts"]["crashes"] == {}
    told = {line["text"].partition(":")[0] for line in kept["lines"] if line["area"] == "smoke"}
    assert "onnxruntime" in told
    assert kept["smoke_seconds"] > 0


def test_it_runs_where_numpy_does_not_load(tmp_path):
    deploy(tmp_path)
    done = run_alone(tmp_path, set(), ["doctor", "--no-smoke", "--verbose"])
    assert done.returncode in (0, 1), done.stderr
    assert "green" in done.stdout
    assert "driver done" in done.stderr


def test_python_tells_what_the_command_tells():
    found = de.doctor(smoke=False)
    assert found.smoke_seconds is None
    assert str(found) == found.page()
    assert [line.area for line in found.lines][:2] == ["python", "driver"]
    assert found.facts.packages["numpy"].version
    assert found.facts.crashes == {}


def test_a_crash_of_the_smoke_test_is_a_red_line(monkeypatch):
    monkeypatch.setattr(run, "gather", lambda: DESKTOP)
    steps = [Step("onnxruntime", DONE, "right"), Step("driver", CRASHED, reason="the process was ended by SIGSEGV")]
    asked = []
    monkeypatch.setattr(run, "run_steps", lambda *given: asked.append(given) or steps)
    found = run.doctor()
    assert found.level == Level.RED
    assert [finding.rule for finding in found.findings] == ["smoke-crashed"]
    assert asked == [("smoke", [], run.SMOKE_SECONDS)]


def test_the_page_of_a_machine_with_everything_is_one_screen():
    lines = tuple(run.lines_of(DESKTOP))
    assert len(str(Diagnosis(lines, DESKTOP, 0.1)).splitlines()) <= 24
    assert len(str(Diagnosis(tuple(run.lines_of(JETSON)), JETSON, 0.1)).splitlines()) <= 24


def test_the_page_is_one_screen_with_every_package_of_every_extra_and_each_is_printed_once():
    """But for ONNX Runtime's for the CPU, which may not lie over the one for GPUs."""
    names = {name for wanted in EXTRAS.values() for name in wanted} - {"onnxruntime"}
    there = {name: DESKTOP.packages.get(name) or Package(name, "2026.11.30") for name in sorted(names)}
    facts = replace(DESKTOP, packages=there)
    lines = [*run.lines_of(facts), Line("engine", "x2.fp16.engine: tensorrt 11.5.0 engine of x2, fp16")]
    page = str(Diagnosis(tuple(lines), facts, 0.1))
    assert page.endswith(" green, 0 yellow, 0 red; 0.1 s")
    assert len(page.splitlines()) <= 24
    steps = [Step(name, DONE, "right") for name in STEPS]
    assert len(str(Diagnosis((*lines, *run.smoke_lines(steps)), facts, 0.1, 2.0)).splitlines()) <= 30
    told = [word for line in lines if line.area == "packages" for word in re.split(r"[^a-z0-9-]+", line.text)]
    for name in sorted(names):
        of_users = any(name in wanted for extra, wanted in EXTRAS.items() if extra not in {"test", "fuzz"})
        # An extra of one package can have its name.
        assert told.count(name) - (name in EXTRAS) == of_users, name
