"""The smoke test's own parts: its graph, the kernel, and what it says of a package that computes wrongly."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from defian_edge.export.plugin.cpu_kernel import CpuKernel
from defian_edge.runtime.doctor import smoke
from defian_edge.runtime.doctor.smoke_graph import smoke_graph
from defian_edge.runtime.doctor.steps import Skipped
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.plugin.launch import KERNELS
from tests.conftest import needed
from tests.doubles.launch_driver import LaunchDriver, Status


def written_graph() -> onnx.ModelProto:
    weights = np.zeros((3, 1, 3, 3), np.float32)
    weights[:, 0, 1, 1] = 1
    nodes = [
        helper.make_node("Cast", ["picture"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["same"], group=3, pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["same"], ["pixels"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["pixels"], ["result"], to=TensorProto.UINT8),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, "H", "W", 3]) for name in ("picture", "result")]
    graph = helper.make_graph(nodes, "smoke", ends[:1], ends[1:], [numpy_helper.from_array(weights, "weights")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=7)


def test_the_kept_graph_is_the_one_that_onnx_writes():
    onnx.checker.check_model(written_graph())
    assert onnx.load_from_string(smoke_graph()) == written_graph()


def test_a_picture_goes_through_onnx_runtime():
    assert "CPUExecutionProvider: 32x32 picture right" in smoke.use_onnxruntime()


def test_cuda_is_not_tried_where_onnx_runtime_has_none():
    if smoke.CUDA in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(Skipped, match="built without CUDA"):
        smoke.use_onnxruntime_cuda()


class Session:
    """An InferenceSession that answers with a picture of its own."""

    def __init__(self, answer: int, provider: str) -> None:
        self.answer, self.provider = answer, provider

    def disable_fallback(self) -> None:
        """Nothing to disable."""

    def get_providers(self) -> list[str]:
        return [self.provider]

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="picture")]

    def run(self, _, feeds) -> list[np.ndarray]:
        return [feeds["picture"] + np.uint8(self.answer)]


@pytest.mark.parametrize(
    ("answer", "provider", "message"),
    [(1, "CPUExecutionProvider", "wrong picture"), (0, "AzureExecutionProvider", "can only use AzureExecution")],
)
def test_a_wrong_picture_and_another_provider_are_told(monkeypatch, answer, provider, message):
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: Session(answer, provider))
    with pytest.raises(DefianError, match=message):
        smoke.use_onnxruntime()


def test_an_onnx_runtime_that_was_removed_over_another_is_told(monkeypatch):
    monkeypatch.setattr(smoke, "import_onnxruntime", lambda _: SimpleNamespace())
    with pytest.raises(DefianError, match="is empty") as raised:
        smoke.use_onnxruntime()
    assert "--force-reinstall onnxruntime" in raised.value.hint


class MemoryDriver(LaunchDriver):
    """The double on which kernels run on the CPU mirror, with memory; ``spoil`` is added to what is read back."""

    spoil = 0.0

    def __init__(self, cpu_kernel) -> None:
        super().__init__(cpu_kernel)
        self.blocks: dict[int, object] = {}

    def cuMemAlloc(self, size: int):  # noqa: N802
        block = ctypes.create_string_buffer(size)
        self.blocks[ctypes.addressof(block)] = block
        return Status.CUDA_SUCCESS, ctypes.addressof(block)

    def cuMemFree(self, address: int):  # noqa: N802
        del self.blocks[address]
        return (Status.CUDA_SUCCESS,)

    def cuMemcpyHtoD(self, target: int, source: int, size: int):  # noqa: N802
        ctypes.memmove(target, source, size)
        return (Status.CUDA_SUCCESS,)

    def cuMemcpyDtoH(self, target: int, source: int, size: int):  # noqa: N802
        self.cuMemcpyHtoD(target, source, size)
        back = np.ctypeslib.as_array((ctypes.c_float * (size // 4)).from_address(target))
        back += np.float32(self.spoil)
        return (Status.CUDA_SUCCESS,)

    def cuCtxSynchronize(self):  # noqa: N802
        return (Status.CUDA_SUCCESS,)


@pytest.fixture
def driver(monkeypatch, tmp_path):
    """The double, with an image that it takes."""
    needed("g++")
    image = b" ".join(name.encode() for name in KERNELS)
    monkeypatch.setattr("defian_edge.runtime.plugin.device.kernel_images", lambda _: [("this test", lambda: image)])
    return MemoryDriver(CpuKernel(tmp_path))


def test_the_kernels_sums_are_held_against_the_eigenvalue_and_nothing_stays_allocated(driver):
    assert smoke.use_kernel(driver) == "right"
    assert driver.blocks == {}
    driver.spoil = 0.5
    with pytest.raises(DefianError, match=r"kernel gave 5\.5 where 5 is right"):
        smoke.use_kernel(driver)
    assert driver.blocks == {}
