"""Every TensorRT name that the engine builder uses exists in the real bindings of 10.3, 10.16 and 11.4."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.doubles.trt_bindings import VERSIONS, BindingsUnavailableError, fetch, missing_names, names_used

BUILDER = [REPOSITORY / "export" / name for name in ("compiler.py", "engine.py", "lowering.py", "progress.py")]
RTX_ONLY = {"ComputeCapability"}
"""Only reached with --target tensorrt-rtx."""
THROUGH_OBJECTS = {
    "Builder": ("create_network", "build_serialized_network", "create_builder_config", "create_optimization_profile"),
    "OnnxParser": ("parse", "num_errors", "get_error"),
    "INetworkDefinition": ("num_layers", "get_layer"),
    "ILayer": ("type",),
    "IBuilderConfig": ("progress_monitor", "set_memory_pool_limit", "builder_optimization_level"),
    "IProgressMonitor": ("phase_start", "step_complete", "phase_finish"),
    "ILogger": ("log", "Severity"),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_the_engine_builder_uses_exists(version):
    names = names_used(BUILDER)
    assert {"NetworkDefinitionCreationFlag.STRONGLY_TYPED", "LayerType.PLUGIN_V3", "Builder"} <= names
    names |= {f"{owner}.{member}" for owner, members in THROUGH_OBJECTS.items() for member in members}
    try:
        assert missing_names(version, names - RTX_ONLY) == []
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
        "from export.engine import *\nfrom runtime.profile import ShapeProfile\n"
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
