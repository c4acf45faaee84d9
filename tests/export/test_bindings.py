"""What the engine builder reaches through Polygraphy exists in the real bindings of 10.3, 10.16 and 11.4.

Its own names are proved in ``tests/runtime/test_trt_names.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.doubles.trt_bindings import VERSIONS, BindingsUnavailableError, fetch, missing_names

THROUGH_POLYGRAPHY = {
    "Builder": ("create_network", "build_serialized_network", "create_builder_config", "create_optimization_profile"),
    "IBuilderConfig": ("progress_monitor", "set_memory_pool_limit", "builder_optimization_level"),
    "IOptimizationProfile": ("set_shape",),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_polygraphy_uses_for_us_exists(version):
    names = {f"{owner}.{member}" for owner, members in THROUGH_POLYGRAPHY.items() for member in members}
    try:
        assert missing_names(version, names) == []
        assert missing_names(version, {"Builder.no_such_thing"}) == ["Builder.no_such_thing"]
    except BindingsUnavailableError as error:
        pytest.skip(f"TensorRT {version}'s bindings are not available here: {error}")


@pytest.mark.parametrize("version", VERSIONS)
def test_without_a_gpu_real_bindings_say_so_and_what_to_do(version, tmp_path):
    try:
        bindings = fetch(version)
    except BindingsUnavailableError as error:
        pytest.skip(f"TensorRT {version}'s bindings are not available here: {error}")
    (tmp_path / "tensorrt.py").write_text(
        "from tensorrt_bindings import *\nfrom tensorrt_bindings import __version__\n"
    )
    script = (
        "from defian_edge.export.engine.build import EngineOptions, build_engine\n"
        "from defian_edge.export.engine.compiler import Target\nfrom defian_edge.runtime.errors import DefianError\n"
        "from defian_edge.runtime.profile import ShapeProfile\n"
        "options = EngineOptions(Target.TENSORRT, ShapeProfile.parse('1x64x64'), uint8=True)\n"
        "try:\n    build_engine(b'', options)\nexcept DefianError as error:\n    print(error)\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (tmp_path, bindings.packages, REPOSITORY))),
        "LD_LIBRARY_PATH": str(bindings.libraries),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "tensorrt cannot start" in done.stdout
    assert "--target tensorrt-rtx --sm 89" in done.stdout
