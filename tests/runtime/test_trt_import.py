"""What TensorRT says, in words that say what it means; and what an engine needs before TensorRT is asked."""

from __future__ import annotations

import re
import sys
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.runtime.device.context import import_pycuda
from defian_edge.runtime.engine.preflight import needed_bytes, require_device, require_shape
from defian_edge.runtime.engine.trt_import import KEPT_MESSAGES, RuntimeLog, import_flavour
from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.runtime.images import read_image
from defian_edge.runtime.manifest import ANY_CAPABILITY, EngineFacts, Manifest
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise, random_checkpoint, tiny
from tests.doubles.deployment import deploy, run_alone
from tests.doubles.graph_file import write_file


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


def log() -> RuntimeLog:
    module: Any = ModuleType("tensorrt")
    module.ILogger = type("ILogger", (), {"Severity": Severity})
    return RuntimeLog(module)


SAID = {
    "another TensorRT version": "The engine plan file is not compatible with this version of TensorRT, expecting "
    "library version 10.3.0 got 10.16.1, please rebuild.",
    "another GPU model": "The engine plan file is generated on an incompatible device, expecting compute 8.9 got "
    "compute 8.7, please rebuild.",
    "does not run on this GPU model at all": "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The "
    "engine cannot run on this GPU, which has compute capability 9.0. Supported compute capabilities: 8.0 8.6 8.9 12.0 "
    "12.1 >12.0. TensorRT-RTX does not support this compute capability, so the engine cannot be rebuilt for it.)",
    "damaged or is no plan": "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
    "magicTagRead == kMAGIC_TAG failed.Magic tag does not match)",
    "a plugin that is not loaded": "IPluginRegistry::getCreator: Error Code 4: API Usage Error (Cannot find plugin: "
    "MaxHessianEigenvalue, version: 1, namespace:defian.)",
    "too little free memory": "Requested amount of GPU memory (1073741824 bytes) could not be allocated.",
    "too little workspace": "Could not find any implementation for node {ForeignNode[conv]}",
    "outside the engine's profile": "IExecutionContext::setInputShape: Static dimension mismatch while setting input "
    "shape: set dimension does not satisfy any optimization profiles.",
    "no usable NVIDIA driver": "CUDA initialization failure with error: 35. Please check your CUDA installation",
}


@pytest.mark.parametrize("meaning", SAID)
def test_known_messages_are_translated_and_shown(meaning):
    kept = log()
    kept.logger.log(Severity.ERROR, SAID[meaning])
    error = kept.failure("loading x.engine", "Rebuild it")
    assert meaning in error.message
    assert SAID[meaning][:60] in error.message
    assert error.hint == "Rebuild it"


def test_the_last_messages_are_kept_and_chatter_is_not():
    kept = log()
    for index in range(KEPT_MESSAGES + 5):
        kept.logger.log(Severity.WARNING, f"warning {index}")
        kept.logger.log(Severity.INFO, "chatter")
    assert len(kept.messages) == KEPT_MESSAGES
    message = kept.failure("running").message
    assert "warning 24" in message
    assert "warning 21" not in message
    assert "chatter" not in message
    assert "no message" in log().failure("running").message


def test_errors_come_before_warnings_and_no_failure_is_told_twice():
    kept = log()
    kept.logger.log(Severity.ERROR, SAID["too little free memory"])
    for index in range(5):
        kept.logger.log(Severity.WARNING, f"warning {index}")
    message = kept.failure("creating an execution context").message
    assert "too little free memory" in message
    assert "warning" not in message
    kept.logger.log(Severity.ERROR, "something new")
    message = kept.failure("running the engine").message
    assert message == "TensorRT failed at running the engine. It said: something new"


def manifest(**changes: object) -> Manifest:
    facts = EngineFacts("tensorrt-rtx", "1.7.1", "8.9", 100 << 20, None, 7 << 20, 1.0, 1)
    profile = ShapeProfile.parse("1x64x64,1x360x640,1x540x960")
    command = "python export.py --target tensorrt-rtx --sm 89 --out build/"
    values: dict[str, Any] = {"profile": profile, "engine": facts, "command": command, **changes}
    return Manifest("m.engine", "0", "m", 2, "fp16", "uint8", "0", **values)


def test_memory_is_that_of_activations_weights_and_frames():
    assert needed_bytes(manifest()) == (100 << 20) + (7 << 20) + 360 * 640 * 3 * 5


def test_an_engine_for_any_gpu_is_not_refused_for_the_one_that_is_there():
    facts = EngineFacts("tensorrt-rtx", "1.7.1", ANY_CAPABILITY, None, None, 1, 1.0, 1)
    require_device(manifest(engine=facts), "Orin", (8, 7))


def test_the_command_that_rebuilds_names_the_gpu_that_is_there():
    with pytest.raises(DefianError) as raised:
        require_device(manifest(), "Orin", (8, 7))
    assert "expected a GPU of compute capability 8.9, found Orin with 8.7" in raised.value.message
    assert "--sm 87 --out build/" in raised.value.hint
    facts = EngineFacts("tensorrt", "10.3.0", "8.9", None, None, 1, 1.0, 1)
    with pytest.raises(DefianError) as raised:
        require_device(manifest(engine=facts, command="python export.py --target tensorrt"), "Orin", (8, 7))
    assert raised.value.hint == "Rebuild it on this GPU: python export.py --target tensorrt"


def test_a_shape_outside_the_profile_names_the_nearest_and_the_profile_that_would_do():
    require_shape(manifest(), (1, 540, 960))
    with pytest.raises(DefianError) as raised:
        require_shape(manifest(), (1, 1080, 32))
    assert "nearest that fits is 1x540x64" in raised.value.message
    assert "--out build/ --profile 1x64x32,1x360x640,1x1080x960" in raised.value.hint
    assert "--tile" not in raised.value.hint, "tiles are of no use to an image that is too narrow"
    with pytest.raises(DefianError) as raised:
        require_shape(manifest(command="python export.py --profile 1x64x64 --out build/"), (1, 1080, 100))
    assert "--tile auto" in raised.value.hint
    assert raised.value.hint.endswith("python export.py --profile 1x64x64,1x360x640,1x1080x960 --out build/")


def test_a_flavour_that_is_not_installed_or_does_not_load_is_told_apart(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingPackageError, match="defian-edge\\[gpu\\]"):
        import_flavour("tensorrt")

    def broken(_: str) -> None:
        raise OSError("libnvinfer.so.10: cannot open shared object file")

    monkeypatch.setattr("defian_edge.runtime.engine.trt_import.importlib", SimpleNamespace(import_module=broken))
    with pytest.raises(DefianError, match="installed but does not load: libnvinfer"):
        import_flavour("tensorrt")


DRIVERS = {
    "no driver": (
        "raise ImportError('libcuda.so.1: cannot open shared object file')",
        r"pycuda cannot load the NVIDIA driver: libcuda\.so\.1",
    ),
    "a driver too old": (
        "class Error(Exception): pass\ndef init(): raise Error('cuInit failed: no CUDA-capable device')",
        "The CUDA driver does not start: cuInit failed",
    ),
    "no GPU": (
        "class Error(Exception): pass\ndef init(): pass\nclass Device:\n    count = staticmethod(lambda: 0)",
        "The CUDA driver finds no GPU",
    ),
}


@pytest.mark.parametrize("case", DRIVERS)
def test_a_machine_that_cannot_run_engines_is_told_why(tmp_path, monkeypatch, case):
    source, message = DRIVERS[case]
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").touch()
    (tmp_path / "pycuda" / "driver.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(DefianError, match=message) as raised:
        import_pycuda()
    assert "nvidia-smi" in raised.value.hint
    for name in ("pycuda", "pycuda.driver"):
        sys.modules.pop(name, None)


BARE = {"numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging"}


def test_the_folder_alone_upscales_photos_with_a_graph(tmp_path, traced):
    deploy(tmp_path)
    content = ir.to_proto(traced(random_checkpoint(tiny()))).SerializeToString()
    write_file(tmp_path / "g.onnx", content)
    Image.fromarray(noise(9, 11, 3)).save(tmp_path / "photo.png")
    done = run_alone(tmp_path, BARE, ["photo.png", "--engine", "g.onnx", "--out", "sr"])
    assert done.returncode == 0, done.stderr
    expected = np.asarray(session_of(ir.load(tmp_path / "g.onnx")).run(None, {"image": noise(1, 9, 11, 3)})[0])[0]
    assert np.array_equal(read_image(tmp_path / "sr" / "photo.png"), expected)


@pytest.mark.parametrize(
    ("without", "arguments", "message"),
    [
        ({"onnxruntime"}, ["photo.png"], r"needs the package 'onnxruntime'"),
        (set(), ["photo.png", "--compare", "photo.png"], "needs the package 'scikit-image'"),
        (set(), ["film.mp4"], r"needs the package 'av'[\s\S]*defian-edge\[video\]"),
    ],
)
def test_what_a_bare_device_lacks_is_named(tmp_path, without, arguments, message):
    deploy(tmp_path)
    write_file(tmp_path / "g.onnx", b"graph")
    Image.fromarray(noise(9, 11, 3)).save(tmp_path / "photo.png")
    (tmp_path / "film.mp4").touch()
    done = run_alone(tmp_path, BARE - without, [*arguments, "--engine", "g.onnx", "--out", "sr"])
    assert done.returncode == 2
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
