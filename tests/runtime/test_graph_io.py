"""A manifest's scale and a graph's inputs and outputs are not believed but looked at, when the graph is opened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.manifest import manifest_path, read_manifest
from defian_edge.runtime.onnx_session import OnnxSession
from defian_edge.runtime.session import open_session
from tests.conftest import noise
from tests.doubles.graph_file import write_file

if TYPE_CHECKING:
    from pathlib import Path

OPEN = ("n", "h", "w", 3)


def resizer(
    factor: int = 2,
    shape: tuple[object, ...] = OPEN,
    result: tuple[object, ...] = ("n", "H", "W", 3),
    turned: bool = False,
) -> onnx.ModelProto:
    """Repeats pixels: uint8 NHWC in and out; ``turned`` swaps height and width."""
    order = [0, 3, 2, 1] if turned else [0, 3, 1, 2]
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], perm=order),
        helper.make_node("Resize", ["nchw", "", "scales"], ["larger"], mode="nearest"),
        helper.make_node("Transpose", ["larger"], ["upscaled"], perm=[0, 2, 3, 1]),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, factor, factor], np.float32), "scales")
    return model(nodes, [("image", TensorProto.UINT8, shape)], [("upscaled", TensorProto.UINT8, result)], [scales])


def model(nodes, inputs, outputs, initialisers=()) -> onnx.ModelProto:
    before, after = ([helper.make_tensor_value_info(*each) for each in side] for side in (inputs, outputs))
    graph = helper.make_graph(nodes, "g", before, after, list(initialisers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def same(*inputs, outputs=None) -> onnx.ModelProto:
    """A graph that hands its inputs through."""
    outputs = outputs or [(f"out{index}", kind, shape) for index, (_, kind, shape) in enumerate(inputs)]
    nodes = [helper.make_node("Identity", [inputs[0][0] if inputs else "c"], [name]) for name, _, _ in outputs]
    constant = [] if inputs else [numpy_helper.from_array(np.zeros((1, 2, 2, 3), np.uint8), "c")]
    return model(nodes, inputs, outputs, constant)


def written(folder: Path, content: onnx.ModelProto, scale: object = 2) -> Path:
    path = write_file(folder / "g.onnx", content.SerializeToString(), command="python export.py --model m")
    said = json.loads(manifest_path(path).read_text()) | {"scale": scale}
    manifest_path(path).write_text(json.dumps(said))
    return path


@pytest.mark.parametrize("scale", [0, -1, 17, 3.0, True, 1e300, 10**40, None, "2", [2], float("nan")])
def test_a_scale_that_no_network_has_is_refused_before_anything_is_loaded(tmp_path, scale):
    path = written(tmp_path, resizer(), scale)
    with pytest.raises(DefianError, match=r"expected (a )?scale (from 1 to 16|as int), found"):
        read_manifest(path)


@pytest.mark.parametrize("shape", [OPEN, (1, 4, 6, 3)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_a_graph_that_is_what_its_manifest_says_opens_and_runs(tmp_path, scale, shape):
    with open_session(written(tmp_path, resizer(scale, shape), scale)) as session:
        assert session(noise(1, 4, 6, 3)).shape == (1, 4 * scale, 6 * scale, 3)


UINT8, FLOAT = TensorProto.UINT8, TensorProto.FLOAT
WRONG = {
    "another scale": (resizer(3), r"expected uint8 \[1, 6, 10, 3\].*scale 2, found uint8 \[1, 9, 15, 3\]"),
    "another scale, declared": (resizer(3, (1, 4, 6, 3), (1, 12, 18, 3)), r"expected \[1, 8, 12, 3\].*found \[1, 12"),
    "axes turned": (resizer(2, turned=True), r"expected uint8 \[1, 6, 10, 3\].*found uint8 \[1, 10, 6, 3\]"),
    "no scale": (same(("image", UINT8, OPEN)), r"found uint8 \[1, 3, 5, 3\]"),
    "no inputs": (same(outputs=[("o", UINT8, (1, 2, 2, 3))]), "expected one input, .*found none"),
    "rank 1": (same(("image", UINT8, ("n",))), r"expected one input, .*found image tensor\(uint8\) \['n'\]"),
    "rank 0": (same(("image", UINT8, ())), "expected one input"),
    "two images in": (same(("a", UINT8, OPEN), ("b", UINT8, OPEN), outputs=[("o", UINT8, OPEN)]), "found a .*, b "),
    "two images out": (same(("a", UINT8, OPEN), outputs=[("o", UINT8, OPEN), ("p", UINT8, OPEN)]), "one output.*p "),
    "float": (same(("image", FLOAT, OPEN)), r"expected one input, tensor\(uint8\).*found image tensor\(float\)"),
    "one channel": (same(("image", UINT8, ("n", "h", "w", 1))), r"expected one input.*'w', 1\]"),
    "four channels": (same(("image", UINT8, (1, 4, 4, 4))), "expected one input"),
    "channels first": (same(("image", UINT8, ("n", 3, "h", 5))), "expected one input"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_graph_that_is_not_what_its_manifest_says_is_refused_on_opening(tmp_path, case):
    content, message = WRONG[case]
    with pytest.raises(DefianError, match=message) as refused:
        open_session(written(tmp_path, content))
    assert "python export.py --model m" in str(refused.value)


def test_a_result_of_another_size_is_refused_even_if_the_small_picture_had_the_right_one(tmp_path, monkeypatch):
    session = OnnxSession(written(tmp_path, resizer()))
    monkeypatch.setattr(session._session, "run", lambda *_: [np.zeros((1, 8, 10, 3), np.uint8)])
    with pytest.raises(DefianError, match=r"expected uint8 \[1, 8, 12, 3\].*found uint8 \[1, 8, 10, 3\]"):
        session(noise(1, 4, 6, 3))


def test_a_graph_that_does_not_run_is_refused_on_opening(tmp_path):
    nodes = [helper.make_node("Reshape", ["image", "s"], ["o"])]
    shape = numpy_helper.from_array(np.array([1, 7, 11, 3], np.int64), "s")
    content = model(nodes, [("image", UINT8, OPEN)], [("o", UINT8, ("n", "a", "b", 3))], [shape])
    with pytest.raises(DefianError, match=r"g\.onnx does not run at 1x3x5"):
        open_session(written(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [b"[" * 10**5, b"\xff\xfe\x00", b"null", b"{}", b'{"schema": 1, "rewrites": 7}', b'{"schema": [1]}', b"9" * 5000],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, content):
    path = written(tmp_path, resizer())
    manifest_path(path).write_bytes(content)
    with pytest.raises(DefianError, match="manifest"):
        read_manifest(path)


@pytest.mark.parametrize(
    "change",
    [{"rewrites": [1]}, {"plugins": [None]}, {"calibration": []}, {"drift": 3}, {"eigen": 1}, {"parent_sha256": None}],
)
def test_other_fields_of_another_type_are_refused_too(tmp_path, change):
    path = written(tmp_path, resizer())
    manifest_path(path).write_text(json.dumps(json.loads(manifest_path(path).read_text()) | change))
    with pytest.raises(DefianError, match=f"expected {next(iter(change))} as"):
        read_manifest(path)


def test_a_value_that_nobody_would_read_to_its_end_is_cut(tmp_path):
    with pytest.raises(DefianError) as refused:
        read_manifest(written(tmp_path, resizer(), "9" * 10_000))
    assert len(str(refused.value)) < 500
