"""``runtime/`` copied alone to a device with numpy, pillow, TensorRT, pycuda and cuda-bindings runs engines."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from defian_edge.runtime.images import read_image
from tests.device.engines import noise, write_engine
from tests.doubles import tensorrt_module
from tests.doubles.deployment import deploy, run_alone

PACKAGES = ("numpy", "PIL", "tensorrt", "pycuda", "pytools", "platformdirs", "typing_extensions", "siphash24", "mako")
DOUBLE = ("onnxruntime", "flatbuffers", "google", "packaging")
"""What the TensorRT double computes with."""


def test_the_folder_alone_upscales_photos_with_an_engine(tmp_path, reference):
    deploy(tmp_path)
    stand_ins = tmp_path / "site"
    stand_ins.mkdir()
    (stand_ins / "tensorrt.py").write_text(
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('double', {tensorrt_module.__file__!r})\n"
        "double = importlib.util.module_from_spec(spec)\nsys.modules['double'] = double\n"
        "spec.loader.exec_module(double)\nsys.modules['tensorrt'] = double.TensorRt()\n"
    )
    engine, path = write_engine(tmp_path), f"{stand_ins}{os.pathsep}{os.environ['PYTHONPATH']}"
    image = noise(20, 30, 3)
    Image.fromarray(image).save(tmp_path / "photo.png")
    for extra in ((), ("cuda",)):
        options = ["photo.png", "--engine", engine.name, "--out", f"sr{len(extra)}"]
        done = run_alone(tmp_path, {*PACKAGES, *DOUBLE, *extra}, list(options), {"PYTHONPATH": path})
        assert done.returncode == 0, done.stderr
        assert "tiny x2 fp32, tensorrt 10.3.0 on stand-in GPU" in done.stdout
        assert np.array_equal(read_image(Path(tmp_path, options[-1], "photo.png")), reference(image[None])[0])
