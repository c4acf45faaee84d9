from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from defian_edge.benchmark.command import main
from defian_edge.benchmark.measure.memory import STATUS, Memory, measure_memory, probe
from defian_edge.benchmark.words import milliseconds
from defian_edge.export.engine.compiler import Target
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.hardware.table import DEVICES
from defian_edge.runtime.images import write_png
from defian_edge.runtime.onnx_session import OnnxSession
from defian_edge.runtime.profile import ShapeProfile
from tests.benchmark.conftest import QUICK, bench
from tests.benchmark.lowerings import both_lowerings
from tests.conftest import REPOSITORY, noise


def test_the_json_holds_every_sample_figure_and_definition(recorded):
    status, _, content = recorded
    assert status == 0
    assert content["schema"] == 4
    assert content["shapes"] == ["1x12x16", "2x12x16"]
    assert {"latency", "percentile", "throughput", "ratio", "verdict"} <= set(content["definitions"])
    assert {"cpu", "cores", "threads", "packages", "gpu", "commit", "power_mode"} <= set(content["environment"])
    assert content["environment"]["packages"]["onnxruntime"]
    reference, wide, int8 = content["candidates"]
    assert [each["kind"] for each in content["candidates"]] == ["pytorch", "onnx", "onnx"]
    for each in content["candidates"]:
        assert [latency["shape"] for latency in each["latencies"]] == content["shapes"]
        for latency in each["latencies"]:
            assert len(latency["seconds"]) == 2
            assert latency["summary"]["mean"] == pytest.approx(sum(latency["seconds"]) / 2)
    assert reference["drift"]["mean_drift_db"] == 0.0
    assert reference["drift"]["uint8_differences"] == [3 * (40 * 48 + 40 * 46)]
    assert wide["drift"]["psnr_to_reference"] is None or wide["drift"]["psnr_to_reference"] > 60
    assert sum(int8["drift"]["uint8_differences"]) == 3 * (40 * 48 + 40 * 46)
    assert int8["work"][0]["macs"]["int8"] > 0
    assert int8["bounds"][0]["device"] == "rtx4090"
    assert int8["bounds"][0]["peaks"]["int8_per_second"] == DEVICES["rtx4090"].int8
    assert int8["bounds"][0]["source"] == content["definitions"]["peaks of rtx4090"] == DEVICES["rtx4090"].source
    assert reference["bounds"][0]["device"] == "rtx4090"
    assert set(reference["work"][0]["macs"]) == {"fp32"}
    assert "Pillow's bicubic" in content["images"]
    names = [each["name"] for each in content["candidates"]]
    for pair in content["pairs"]:
        ours, theirs = (
            np.asarray(latency["seconds"])
            for name in (pair["of"], pair["to"])
            for latency in content["candidates"][names.index(name)]["latencies"]
            if latency["shape"] == pair["shape"]
        )
        assert pair["ratio"] == pytest.approx(np.median(ours / theirs))
    assert len(content["pairs"]) == 3 * len(content["shapes"])
    assert "odd.png: 47x41 is no multiple of 2, cropped to 46x40." in content["remarks"]


def test_the_tables_name_every_artefact_and_mark_bounds_as_bounds(artefacts, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert (
        bench(artefacts / "tiny.fp32.onnx", artefacts / "tiny.fp32.onnx", *QUICK, "--device", "orin-nx", "--no-memory")
        == 0
    )
    said = capsys.readouterr().out
    assert f"{artefacts.name}/tiny.fp32.onnx" in said
    assert "too few rounds" in said
    assert "Bounds (not measured)" in said


def test_engines_without_a_gpu_get_bounds_and_the_compilers_memory_and_no_latency(artefacts, capsys, monkeypatch):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    monkeypatch.setattr("defian_edge.benchmark.candidates.has_gpu", lambda: False)
    monkeypatch.setenv("COLUMNS", "200")
    assert bench(artefacts / "tiny.int8.tensorrt-rtx.engine", *QUICK, "--device", "rtx4090") == 0
    said = capsys.readouterr().out
    assert "not timed, no NVIDIA GPU here" in said
    assert "Bounds (not measured)" in said
    assert "Latency at" not in said


def test_engines_of_both_lowerings_stand_side_by_side(artefacts, tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    monkeypatch.setattr("defian_edge.benchmark.candidates.has_gpu", lambda: False)
    monkeypatch.setenv("COLUMNS", "200")
    profile = ShapeProfile.parse("1x64x64,1x360x640,1x540x960")
    engines = both_lowerings(artefacts / "tiny.fp32.onnx", tmp_path, Target.TENSORRT_RTX, 89, profile)
    path = tmp_path / "both.json"
    assert bench(*engines, *QUICK, "--no-memory", "--json", path) == 0
    function, plugin = json.loads(path.read_text())["candidates"]
    assert (function["name"], plugin["name"]) == (
        "tiny.fp32.engine",
        "plugin/tiny.fp32.engine",
    )
    assert (function["eigen"], plugin["eigen"]) == ("function", "plugin")
    assert plugin["activation_bytes_planned"] != function["activation_bytes_planned"]
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "engine" in line and "│" in line]
    assert [row[2].strip() for row in rows] == ["function", "plugin"]


def test_a_session_with_timings_fills_the_device_table_and_the_json(artefacts, tmp_path, capsys, monkeypatch):
    timings = {"enqueue": 0.001, "h2d": 0.002, "compute": 0.004, "d2h": 0.003}
    monkeypatch.setattr(OnnxSession, "timings", lambda _: timings, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "b.json"
    assert bench(artefacts / "tiny.pth", artefacts / "tiny.fp32.onnx", *QUICK, "--no-memory", "--json", path) == 0
    said = capsys.readouterr().out
    assert "Memory in MB" not in said
    [row] = [line for line in said.split("On the device")[1].split("Work")[0].splitlines() if "tiny" in line]
    of_device = timings | {"device": pytest.approx(0.009)}
    reference, graph = (each["latencies"][0] for each in json.loads(path.read_text())["candidates"])
    whole = " / ".join(milliseconds(graph["summary"][name]) for name in ("median", "p99"))
    assert [cell.strip() for cell in row.split("│")[2:-1]] == [
        *(f"{1e3 * value:.3f} / {1e3 * value:.3f}" for value in (*timings.values(), 0.009)),
        whole,
    ]
    assert reference["parts"] == {}
    assert graph["parts"] == {name: [value] * 2 for name, value in of_device.items()}
    assert graph["part_summaries"]["h2d"]["p99"] == 0.002


def test_a_budget_that_is_exceeded_makes_the_exit_status_one(artefacts, tmp_path, capsys):
    # HR is a step away from what the FP32 graph gives, so that INT8 has something to lose.
    graphs = [artefacts / "tiny.pth", artefacts / "tiny.int8.onnx"]
    lr = noise(24, 24, 3)
    from defian_edge.export.reference import upscale
    from defian_edge.models.checkpoint import load_checkpoint

    sr = upscale(load_checkpoint(artefacts / "tiny.pth").network(), lr[None])[0]
    write_png(tmp_path / "lr" / "one.png", lr)
    write_png(tmp_path / "hr" / "one.png", sr ^ 1)
    pairs = ["--lr", tmp_path / "lr", "--hr", tmp_path / "hr", "--no-memory", *QUICK]
    assert bench(*graphs, *pairs, "--max-drift", "0.001") == 1
    assert "tiny.int8.onnx: one lost" in capsys.readouterr().out.replace("\n", " ")
    assert bench(*graphs, *pairs, "--max-mean-drift", "0.001") == 1
    assert bench(*graphs, *pairs, "--min-psnr-to-reference", "90") == 1
    assert bench(*graphs, *pairs, "--max-drift", "99") == 0


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not say a process's peak memory")
def test_the_host_memory_is_that_of_a_process_with_one_artefact(artefacts, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the process finds the package wherever it is started
    small, large = (
        measure_memory(str(artefacts / "tiny.fp32.onnx"), shape, "cpu").host for shape in ((1, 8, 8), (1, 400, 400))
    )
    assert small is not None
    assert large is not None
    assert 10e6 < small.loaded <= small.peak < 1e9
    assert large.peak - small.peak > 400 * 400 * 16 * 4
    with pytest.raises(DefianError, match=r"Measuring the memory of nothing\.onnx failed: .*No file"):
        measure_memory("nothing.onnx", (1, 8, 8), "cpu")


def test_a_network_that_runs_out_of_memory_gets_a_clear_error(artefacts, capsys, monkeypatch):
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")):

        def fails(*_, error=error):
            raise error

        monkeypatch.setattr("defian_edge.benchmark.run.measure_latency", fails)
        assert bench(artefacts / "tiny.fp32.onnx", *QUICK, "--no-memory") == 2
        assert "Not enough memory for an LR batch of 1x12x16." in capsys.readouterr().err

    def breaks(*_):
        raise RuntimeError("another mistake")

    monkeypatch.setattr("defian_edge.benchmark.run.measure_latency", breaks)
    with pytest.raises(RuntimeError, match="another mistake"):
        main([str(artefacts / "tiny.fp32.onnx"), *QUICK, "--no-memory"])


def test_threads_reach_both_libraries_the_memorys_process_and_the_record(artefacts, tmp_path, monkeypatch):
    import torch

    before = torch.get_num_threads()
    given = []
    opened = OnnxSession.__init__

    def watched(self, path, backend):
        given.append(backend.threads)
        opened(self, path, backend)

    monkeypatch.setattr(OnnxSession, "__init__", watched)
    started = []
    monkeypatch.setattr(
        "defian_edge.benchmark.run.measure_memory", lambda *given: started.append(given) or Memory(None)
    )
    try:
        files = artefacts / "tiny.pth", artefacts / "tiny.fp32.onnx"
        assert bench(*files, *QUICK, "--threads", "1", "--json", tmp_path / "b.json") == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert given == [1]
    assert [each[-1] for each in started] == [1, 1]
    probe(str(artefacts / "tiny.fp32.onnx"), (1, 8, 8), "cpu", 1)
    assert given == [1, 1]
    recorded = json.loads((tmp_path / "b.json").read_text())["environment"]["threads"]
    assert (recorded["torch"], recorded["onnxruntime"]) == (1, 1)


def test_the_memory_of_a_graph_is_measured_without_pytorch_in_the_process(artefacts):
    script = (
        "import sys; from defian_edge.benchmark.measure.memory import probe; probe(sys.argv[1], (1, 8, 8), 'cpu', 1); "
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(artefacts / "tiny.fp32.onnx")]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0


def test_help_is_quick_and_needs_no_heavy_package():
    script = (
        "import sys\nfrom defian_edge.benchmark.command import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stopped:\n    assert not stopped.code\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'onnx_ir', 'matplotlib', 'skimage', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "--against" in done.stdout
