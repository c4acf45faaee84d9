"""On a GPU: the plugin's engine beside the function's, timed in turns and compared pixel by pixel. Skips elsewhere.

What it prints (``pytest -m gpu -s``) is the answer to the question which lowering is faster on that GPU; the test
itself asserts no time.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from defian_edge.benchmark.measure.latency import PARTS
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import ShapeProfile
from defian_edge.runtime.session import open_session
from tests.benchmark.conftest import bench
from tests.benchmark.lowerings import both_lowerings
from tests.conftest import noise

pytestmark = pytest.mark.gpu
PROFILE = ShapeProfile.parse("1x64x64,1x360x640,1x540x960")
SHAPES = "360x640"


@pytest.fixture(scope="module")
def capability() -> int:
    cuda = pytest.importorskip("pycuda.driver", reason="pycuda or the NVIDIA driver is not installed")
    try:
        cuda.init()
        major, minor = cuda.Device(0).compute_capability()
    except cuda.Error as error:
        pytest.skip(f"no GPU: {error}")
    return 10 * major + minor


@pytest.mark.parametrize("precision", [Precision.FP16, Precision.FP32])
@pytest.mark.parametrize("target", [Target.TENSORRT, Target.TENSORRT_RTX], ids=lambda target: target.value)
def test_bench_times_the_plugin_against_the_function_and_both_give_one_picture(
    target, precision, capability, photos, tmp_path
):
    if not is_available(target):
        pytest.skip(f"{target.value} is not installed")
    options = ExportOptions(tmp_path, precisions=(precision,), dataset=photos, rewrite_memory=False)
    run_export("defian-s-x2", options)
    sm = capability if target is Target.TENSORRT_RTX else None
    try:
        engines = both_lowerings(tmp_path / f"defian-s-x2.{precision.value}.onnx", tmp_path, target, sm, PROFILE)
    except DefianError as error:
        pytest.skip(str(error))
    path = tmp_path / "bench.json"
    assert bench(*engines, "--shape", SHAPES, "--rounds", "50", "--no-energy", "--json", path) == 0
    function, plugin = json.loads(path.read_text())["candidates"]
    assert (function["eigen"], plugin["eigen"]) == ("function", "plugin")
    for each in (function, plugin):
        [latency] = each["latencies"]
        assert len(latency["seconds"]) >= 50
        assert all(len(latency["parts"][part]) == len(latency["seconds"]) for part in PARTS)
        assert each["memory"]["device"]["peak"] > 0
    images = noise(1, 360, 640, 3)
    with open_session(engines[0]) as one, open_session(engines[1]) as other:
        steps = np.abs(one(images).astype(int) - other(images))
    assert steps.max() <= 2
    assert np.mean(steps > 0) < 0.02
