"""``runtime/`` copied alone to a device with numpy, pillow, TensorRT, pycuda and cuda-bindings runs engines."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from defian_edge.runtime.images import read_image
from tests.device.engines import noise, write_engine
from tests.device.packs import engine_with_pack
from tests.doubles import tensorrt_builder, tensorrt_module
from tests.doubles.deployment import deploy, run_alone

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

PACKAGES = ("numpy", "PIL", "tensorrt", "pycuda", "pytools", "platformdirs", "typing_extensions", "siphash24", "mako")
DOUBLE = ("onnxruntime", "flatbuffers", "google", "packaging")
"""What the TensorRT double computes with."""


@pytest.fixture
def device(tmp_path) -> Callable[..., CompletedProcess[str]]:
    """``python -m runtime`` beside the copied folder, where a module ``tensorrt`` is the double."""
    deploy(tmp_path)
    stand_ins = tmp_path / "site"
    stand_ins.mkdir()
    files = {module.__name__: module.__file__ for module in (tensorrt_builder, tensorrt_module)}
    (stand_ins / "tensorrt.py").write_text(
        f"import importlib.util, sys\nfor name, file in {files!r}.items():\n"
        "    spec = importlib.util.spec_from_file_location(name, file)\n"
        "    double = sys.modules[name] = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(double)\nsys.modules['tensorrt'] = double.TensorRt()\n"
    )
    path = f"{stand_ins}{os.pathsep}{os.environ['PYTHONPATH']}"

    def run(*arguments: object, extra: tuple[str, ...] = ()) -> CompletedProcess[str]:
        cache = {"DEFIAN_CACHE": str(tmp_path / "cache")}
        return run_alone(tmp_path, {*PACKAGES, *DOUBLE, *extra}, list(arguments), {"PYTHONPATH": path} | cache)

    return run


def test_the_folder_alone_upscales_photos_with_an_engine(tmp_path, reference, device):
    engine = write_engine(tmp_path)
    image = noise(20, 30, 3)
    Image.fromarray(image).save(tmp_path / "photo.png")
    for extra in ((), ("cuda",)):
        options = ["photo.png", "--engine", engine.name, "--out", f"sr{len(extra)}"]
        done = device(*options, extra=extra)
        assert done.returncode == 0, done.stderr
        assert "tiny x2 fp32, tensorrt 10.3.0 on stand-in GPU" in done.stdout
        assert np.array_equal(read_image(Path(tmp_path, options[-1], "photo.png")), reference(image[None])[0])


def test_the_folder_alone_verifies_an_engine(tmp_path, reference, device):
    engine = engine_with_pack(tmp_path, reference)
    done = device("verify", engine.name, "--json", "said.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 right, 0 wrong, 0 not run" in done.stdout
    assert json.loads((tmp_path / "said.json").read_text())["passed"] is True
