"""docs/gpu.md follows from the reports, and a report becomes the tables that it should."""

from __future__ import annotations

import json

import jsonschema
import pytest

from defian_edge.runtime.errors import DefianError
from defian_edge.selftest.page import (
    BEGIN,
    NOTHING,
    PAGE,
    README,
    REPORTS,
    REWRITES,
    SCALE,
    page,
    reports,
    with_rows,
    with_tables,
)
from defian_edge.selftest.report import SCHEMA_FILE, Outcome, Report
from defian_edge.selftest.scale_page import BOUNDED, bounded, measured


def test_the_page_follows_from_the_reports():
    assert PAGE.read_text(encoding="utf-8") == page(reports()), "make it again: python -m defian_edge.selftest.page"


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_kept_report_is_whole_and_fits_the_schema(path):
    report = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    assert report["finished"]
    assert report["machine"]["card"]["name"]


def test_readmes_rows_follow_from_the_reports():
    readme = README.read_text(encoding="utf-8")
    assert readme == with_rows(readme, reports()), "make them again: python -m defian_edge.selftest.page"
    assert BEGIN in readme
    assert "none was at hand to measure it" in with_rows(readme, [])


def test_readme_without_the_marks_is_refused():
    with pytest.raises(DefianError, match=r"README\.md: expected the lines"):
        with_rows("# defian-edge\n", [])


def test_without_a_report_the_page_says_that_nothing_was_measured():
    assert page([]).endswith(NOTHING)


def report() -> Report:
    card = {"name": "NVIDIA Toy", "capability": "8.9", "multiprocessors": 2, "driver_cuda": "13.0"}
    machine = {
        "card": card,
        "packages": {"torch": "2.13.0"},
        "gpu": {"driver_version": "580.1"},
        "commit": "0123456789abcdef with changes",
    }
    latency = {"shape": "1x540x960", "compute_ms": 4.0, "share_of_roofline": 0.25, "median_ms": 9.0}
    torchs = {"model": "defian-s-x2", "way": "fp16", "shape": "1x540x960", "milliseconds": 11.5}
    torchs |= {"peak_bytes": 348_082_688}
    drift = {"mean_psnr_y": 37.631, "mean_drift_db": 0.0001, "worst_drift_db": 0.0004, "psnr_to_reference": 61.0}
    engine = {"name": "defian-s-x2.fp16.plugin.tensorrt-rtx.engine", "model": "defian-s-x2", "drift": drift}
    engine |= {"latencies": [latency], "planned_bytes": 242_600_000}
    kernel = {"shape": "1x32x540x960", "precision": "fp16", "layout": "linear", "microseconds": 20.0}
    kernel |= {"least_bytes": 36_288_000, "share_of_copy": 0.6}
    outcomes = [
        Outcome("environment", "", "passed", figures={"copy_bytes_per_second": {str(1 << 30): 3e12}}),
        Outcome("kernel", "", "passed", figures={"kernel": [kernel], "copy_bytes_per_second": 3e12}),
        Outcome(
            "pytorch", "", "failed", seconds=12.4,
            checks=[{"name": "worst drift", "passed": False, "expected": "<= 0.05", "found": 0.07}],
            figures={"latency": [torchs]},
        ),
        Outcome("rtx", "", "passed", figures={"bench defian-s-x2": [engine],
                                          "memory defian-s-x2": {engine["name"]: {"loaded": 1, "peak": 300_000_000}}}),
        Outcome("soak", "", "skipped", "No engine | here.", notes=["A note.", "defian-s-x2.fp16.onnx: not this"]),
    ]  # fmt: skip
    return Report("2026-11-26T12:00:00+00:00", 480.0, "a test", machine, outcomes, finished=True)


def test_a_report_becomes_tables():
    text = page([("toy.json", report())])
    for row in (
        "## NVIDIA Toy, 2026-11-26",
        "[toy.json](gpu/toy.json): compute capability 8.9",
        "commit 0123456789ab with changes.",
        "| pytorch | failed | 0 of 1 | 12 | worst drift: 0.07 (expected <= 0.05) |",
        "| soak | skipped | - | 0 | No engine / here. |",
        "| defian-s-x2 | PyTorch fp16 | - | - | 11.500 | - |",
        "| defian-s-x2 | TensorRT-RTX, fp16.plugin | - | - | 4.000 (25%) | - |",
        "| TensorRT-RTX, fp16.plugin (defian-s-x2) | 37.631 | 0.0001 | 0.0004 | 61.0 | - | - | - |",
        "- soak: A note.",
        "| defian-s-x2 | PyTorch fp16 | - | 348.1 |",
        "| defian-s-x2 | TensorRT-RTX, fp16.plugin | 242.6 | 300.0 |",
        "| 1x32x540x960 | fp16 | linear | 20.0 | 36.3 | 60% |",
    ):
        assert row in text
    assert "not this" not in text
    row = "| NVIDIA Toy, 2026-11-26 | TensorRT-RTX, fp16.plugin | 4.000 (25%) ms |"
    assert row in with_rows(f"{BEGIN}<!-- end -->\n", [("toy.json", report())])


def test_the_tables_of_scale_follow_from_the_reports_and_the_rewrites():
    page_as_it_is, rewrites = SCALE.read_text(encoding="utf-8"), REWRITES.read_text(encoding="utf-8")
    expected = with_tables(page_as_it_is, reports(), rewrites)
    assert page_as_it_is == expected, "make them again: python -m defian_edge.selftest.page"
    assert expected.count("\n| NVIDIA ") >= len(reports())
    for device in BOUNDED:
        assert f"\n| {device} | " in expected


def test_what_a_gpu_does_in_a_day_is_what_the_formula_of_the_page_says():
    found = measured([("toy.json", report())])
    assert "| NVIDIA Toy | TensorRT-RTX, fp16.plugin | 4.0 | 21 600 000 | 1 | 1 |" in found
    assert "| NVIDIA Toy | PyTorch fp16 | 11.5 | 7 513 043 | 1 | 2 |" in found, "9 000 000 x 11.5 / 86 400 000 = 1.2"
    rewrites = (
        "| GB moved, x2, FP16, 540x960, a plan | 3 | 2 | 93.6 | |\n| GMACs, x2, 540x960 | 3.0 | 2.0 | 156.0 | | |\n"
    )
    assert "| rtx3090 | memory | 100.0 | 864 000 | 2 | 11 |" in bounded(rewrites), "93.6 GB at 936 GB/s"
    assert "| orin-nano | memory | 1376.5 | 62 769 | 16 | 144 |" in bounded(rewrites)
    with pytest.raises(DefianError, match=r"docs/rewrites\.md: expected a row 'GMACs"):
        bounded("")
    with pytest.raises(DefianError, match=r"docs/scale\.md: expected the lines"):
        with_tables("", [], rewrites)
    assert measured([]) == "No card has been measured.\n"
