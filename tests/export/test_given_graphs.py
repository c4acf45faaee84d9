"""Any FP32 ONNX graph becomes one of uint8 pictures that gives what it gave; what cannot is refused by name."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from defian_edge.calibration.drift.evaluator import GraphEvaluator, session_of
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.source.given import MOST_BYTES
from defian_edge.export.source.onnx_graph import open_graph
from defian_edge.export.source.opening import open_source
from defian_edge.export.source.picture import Channels, Order, PictureFormat
from defian_edge.export.trace.network import Io
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise
from tests.export.given_graphs import REFUSED, model_of, small, small_nodes, weights, written
from tools.architectures import random_network

PLAIN = PictureFormat()


def by_hand(model: onnx.ModelProto, values: np.ndarray) -> np.ndarray:
    """What the file as it was given makes of float32 [N, C, H, W]."""
    from defian_edge.calibration.drift.evaluator import session_of_bytes

    session = session_of_bytes(model.SerializeToString())
    return np.asarray(session.run(None, {session.get_inputs()[0].name: values})[0])


def levels(values: np.ndarray) -> np.ndarray:
    return np.clip(values * 255, 0, 255).transpose(0, 2, 3, 1)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_graph_gives_its_own_pictures_at_any_size_and_in_a_batch(scale, tmp_path):
    model = small(scale)
    network = open_source(written(model, tmp_path / "net.onnx"))
    assert (network.scale, network.name, network.reference) == (scale, "net", "ONNX Runtime")
    assert not network.sizes.one_image
    session = session_of(network.trace(Io.UINT8))
    for shape in ((1, 17, 23, 3), (3, 8, 5, 3), (1, 1, 2, 3)):
        images = noise(*shape)
        expected = levels(by_hand(model, (images / 255).astype(np.float32).transpose(0, 3, 1, 2)))
        found = np.asarray(session.run(None, {"image": images})[0])
        assert np.abs(found - expected).max() <= 0.501
        assert np.abs(network.evaluate(images[0]).values - expected[0]).max() < 1e-3


OLDER = ("EDSR", "EDSR x3", "RRDB x4", "Compact", "RLFN", "PLKSR", "IMDN", "restoration x1")


@pytest.mark.parametrize("name", OLDER)
def test_what_pytorch_s_older_exporter_wrote_gives_the_module_s_pictures(name, tmp_path):
    """At three sizes and in a batch, in FP32 and FP16, whatever sizes the example had."""
    module = random_network(name)
    example, axes = torch.zeros(1, 3, 16, 24), {"x": {0: "n", 2: "h", 3: "w"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (example,), tmp_path / "net.onnx", dynamo=False, opset_version=17, input_names=["x"],
            output_names=["y"], dynamic_axes=axes,
        )  # fmt: skip
    network = open_graph(tmp_path / "net.onnx", PLAIN)
    graph = network.trace(Io.UINT8)
    half = make_fp16(graph)
    Variant(Precision.FP16, half).serialise()
    session, evaluate = session_of(graph), GraphEvaluator(half)
    for height, width in ((17, 23), (24, 16), (36, 44)):
        images = noise(2, height, width, 3)
        padded = network.fit.pad(images.transpose(0, 3, 1, 2) / np.float32(255))
        with torch.inference_mode():
            values = network.fit.crop(module(torch.from_numpy(padded)).numpy(), height, width)
        expected = levels(values)
        assert np.abs(np.asarray(session.run(None, {"image": images})[0]) - expected).max() < 0.52
        assert 0 < np.abs(evaluate(images[0]).values - expected[0]).max() < 2.0


FORMATS = {
    "0..255": (PictureFormat("0..255"), lambda x: x, lambda y: y),
    "-1..1": (PictureFormat("-1..1"), lambda x: x / 127.5 - 1, lambda y: (y + 1) * 127.5),
    "bgr": (PictureFormat(order=Order.BGR), lambda x: x[:, ::-1] / 255, lambda y: y[:, ::-1] * 255),
    "mean and deviation": (
        PictureFormat(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)),
        lambda x: (x / 255 - np.reshape((0.4, 0.5, 0.6), (3, 1, 1))) / np.reshape((0.2, 0.3, 0.4), (3, 1, 1)),
        lambda y: 255 * (y * np.reshape((0.2, 0.3, 0.4), (3, 1, 1)) + np.reshape((0.4, 0.5, 0.6), (3, 1, 1))),
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_network_takes_for_a_picture_is_in_the_graph_and_in_the_reference(name, tmp_path):
    picture, there, back = FORMATS[name]
    model = small()
    network = open_graph(written(model, tmp_path / "net.onnx"), picture)
    lr = noise(9, 13, 3)
    values = there(lr.astype(np.float64).transpose(2, 0, 1)[None])
    made = back(by_hand(model, np.ascontiguousarray(values, np.float32)).astype(np.float64))
    expected = np.clip(made[0].transpose(1, 2, 0), 0, 255)
    for found in (network.evaluate(lr).values, GraphEvaluator(network.trace(Io.UINT8))(lr).values):
        assert np.abs(found - expected).max() < 2e-2
    assert PictureFormat.from_json(picture.as_json()) == picture


FLOORED = {"nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}


def test_a_luma_network_gets_its_colours_from_a_bicubic_filter(tmp_path):
    """A network that repeats every pixel gives the luma of the picture, and the chroma is Pillow's."""
    from PIL import Image

    nodes = [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest", **FLOORED)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, None, None]) for name in ("x", "y")]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    path = written(model_of(nodes, [scales], ends[:1], ends[1:]), tmp_path / "luma.onnx")
    network = open_graph(path, PictureFormat(channels=Channels.Y))
    lr = np.full((12, 14, 3), (200, 30, 90), np.uint8)
    assert np.abs(network.evaluate(lr).image.astype(int) - (200, 30, 90)).max() <= 1  # a flat picture stays as it is
    lr = noise(12, 14, 3)
    found = GraphEvaluator(network.trace(Io.UINT8))(lr)
    assert np.abs(found.values - network.evaluate(lr).values).max() < 2e-2
    grey = np.repeat(noise(12, 14, 1), 3, axis=2)
    expected = np.asarray(Image.fromarray(grey).resize((28, 24), Image.Resampling.NEAREST))
    assert np.abs(network.evaluate(grey).image.astype(int) - expected).max() <= 1


def needing(multiple: int) -> onnx.ModelProto:
    """Runs at multiples alone: half, quarter or ... the size, shuffled back, and added to the input."""
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["a"], blocksize=multiple),
        helper.make_node("Conv", ["a", "w"], ["b"], pads=[1] * 4),
        helper.make_node("DepthToSpace", ["b"], ["y"], blocksize=2 * multiple),
    ]
    channels = 3 * multiple**2
    return model_of(nodes, [numpy_helper.from_array(weights(4 * channels, channels, 3, 3), "w")])


@pytest.mark.parametrize("multiple", [2, 8])
def test_a_network_that_wants_multiples_is_padded_by_reflection_and_cropped_in_the_graph(multiple, tmp_path):
    model = needing(multiple)
    network = open_graph(written(model, tmp_path / "net.onnx"), PLAIN)
    assert f"padded to multiples of {multiple}" in network.description
    evaluate = GraphEvaluator(network.trace(Io.UINT8))
    for height, width in ((17, 23), (16, 24), (1, 3), (multiple, multiple + 1)):
        lr = noise(height, width, 3)
        pads = [(0, -side % multiple) for side in (height, width)]
        mirrored = np.pad(lr, (*pads, (0, 0)), "reflect")
        expected = levels(by_hand(model, (mirrored / 255).astype(np.float32).transpose(2, 0, 1)[None]))[0]
        for found in (evaluate(lr).values, network.evaluate(lr).values):
            assert found.shape == (2 * height, 2 * width, 3)
            assert np.abs(found - expected[: 2 * height, : 2 * width]).max() < 1e-2


def test_a_fixed_size_stays_and_a_fixed_batch_is_freed_where_the_graph_can(tmp_path):
    fixed = open_graph(written(small(shape=(1, 3, 24, 32)), tmp_path / "a.onnx"), PLAIN)
    assert (fixed.sizes.height, fixed.sizes.width, fixed.sizes.one_image) == (24, 32, False)
    image = fixed.trace(Io.UINT8).graph.inputs[0]
    assert [str(side) for side in image.shape or ()] == ["batch", "24", "32", "3"]
    nodes, constants = small_nodes()
    one = numpy_helper.from_array(np.array([1, 3, -1, 64]), "one")  # a shape that was frozen with one image in it
    more = [helper.make_node("Reshape", ["y", "one"], ["z"])]
    sides = {"x": (24, 32), "z": (48, 64)}
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, *size]) for name, size in sides.items()]
    model = model_of([*nodes, *more], [*constants, one], ends[:1], ends[1:])
    bound = open_graph(written(model, tmp_path / "b.onnx"), PLAIN)
    assert bound.sizes.one_image
    assert np.isfinite(bound.trace(Io.UINT8).graph.inputs[0].shape[0])  # type: ignore[index]


@pytest.mark.parametrize("opset", [9, 11, 13, 20, 22])
def test_any_opset_becomes_ours(opset, tmp_path):
    model = small(opset=opset)
    made = open_graph(written(model, tmp_path / "net.onnx"), PLAIN).trace(Io.UINT8)
    assert made.opset_imports[""] == 20


RESIZES = {
    "nearest": {"mode": "nearest", **FLOORED},
    "linear": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "corners": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "cubic": {"mode": "cubic", "cubic_coeff_a": -0.75, "coordinate_transformation_mode": "pytorch_half_pixel"},
}


@pytest.mark.parametrize("mode", RESIZES)
def test_resize_in_every_mode_and_sizes_computed_in_the_graph(mode, tmp_path):
    """Sizes as old exporters write them: through floats, which must stay FP32 where the rest is FP16."""
    from defian_edge.export.precision import Precision
    from defian_edge.export.precision.variants import Variant, make_fp16

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "two", "four"], ["sides"]),
        helper.make_node("Cast", ["sides"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "factor"], ["larger"]),
        helper.make_node("Cast", ["larger"], ["ints"], to=TensorProto.INT64),
        helper.make_node("Slice", ["shape", "zero", "two"], ["first"]),
        helper.make_node("Concat", ["first", "ints"], ["sizes"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node("Resize", ["a", "", "", "sizes"], ["y"], **RESIZES[mode]),
    ]
    numbers = {"zero": np.array([0]), "two": np.array([2]), "four": np.array([4]), "factor": np.array(2, np.float32)}
    constants = [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    constants.append(numpy_helper.from_array(weights(3, 3, 3, 3), "w"))
    network = open_graph(written(model_of(nodes, constants), tmp_path / "net.onnx"), PLAIN)
    graph = network.trace(Io.UINT8)
    half = make_fp16(graph)
    Variant(Precision.FP16, half).serialise()
    lr = noise(5, 2059, 3)  # more than FP16 counts one by one
    assert np.abs(GraphEvaluator(half)(lr).values - network.evaluate(lr).values).max() < 1.0


def upsampled(operator: str, mode: str, opset: int) -> onnx.ModelProto:
    """The small network, and what an upsampling of the picture adds to it."""
    nodes, constants = small_nodes()
    nodes[-1] = helper.make_node("DepthToSpace", ["c"], ["d"], blocksize=2)
    scales = np.array([1, 1, 2, 2], np.float32)
    if opset < 9:
        larger = helper.make_node(operator, ["x"], ["u"], mode=mode, scales=scales.tolist())
    else:
        larger = helper.make_node(operator, ["x", "scales"], ["u"], mode=mode)
        constants.append(numpy_helper.from_array(scales, "scales"))
    return model_of([*nodes, larger, helper.make_node("Add", ["d", "u"], ["y"])], constants, opset=opset)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
def test_upsampling_of_old_opsets_samples_where_it_did(operator, opset, mode, tmp_path):
    """At the place divided by the scale, which is no pixel's centre; the graph as it was given says what is right."""
    model = upsampled(operator, mode, opset)
    graph = open_graph(written(model, tmp_path / "net.onnx"), PLAIN).trace(Io.UINT8)
    lr = noise(9, 14, 3)
    expected = levels(by_hand(model, (lr / 255).astype(np.float32).transpose(2, 0, 1)[None]))[0]
    assert np.abs(GraphEvaluator(graph)(lr).values - expected).max() < 2e-2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_by_name(case, tmp_path):
    make, message = REFUSED[case]
    with pytest.raises(DefianError, match=message):
        open_graph(written(make(), tmp_path / "net.onnx"), PLAIN)


FILES = {
    "empty": (b"", "is no ONNX file"),
    "text": (b"hello, this is no graph at all\n" * 9, "is no ONNX file"),
    "truncated": (small().SerializeToString()[:-900], "no ONNX file|no valid ONNX graph"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_graph_is_refused(case, tmp_path):
    content, message = FILES[case]
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(DefianError, match=message):
        open_source(tmp_path / "net.onnx")


def test_a_missing_and_a_too_large_file_are_refused(tmp_path):
    with pytest.raises(DefianError, match="No ONNX graph at"):
        open_source(tmp_path / "nowhere.onnx")
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # a hole, which takes no room
    with pytest.raises(DefianError, match="expected at most 1024 MiB"):
        open_source(tmp_path / "large.onnx")


def apart(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """The first weight of the model is said to lie in another file."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def test_data_beside_the_graph_is_read_and_data_elsewhere_is_not(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    whole = small()
    (folder / "net.data").write_bytes(whole.graph.initializer[0].raw_data)
    (tmp_path / "outside.data").write_bytes(whole.graph.initializer[0].raw_data)
    network = open_graph(written(apart(small(), "net.data"), folder / "net.onnx"), PLAIN)
    lr = noise(9, 13, 3)
    expected = levels(by_hand(whole, (lr / 255).astype(np.float32).transpose(2, 0, 1)[None]))[0]
    assert np.abs(network.evaluate(lr).values - expected).max() < 1e-3
    network.trace(Io.UINT8)
    (folder / "link.data").symlink_to(tmp_path / "outside.data")
    for location in ("../outside.data", str(tmp_path / "outside.data"), "link.data"):
        with pytest.raises(DefianError, match="outside of the graph's folder"):
            open_graph(written(apart(small(), location), folder / "bad.onnx"), PLAIN)
    with pytest.raises(DefianError, match="not beside the graph"):
        open_graph(written(apart(small(), "lost.data"), folder / "bad.onnx"), PLAIN)
    (folder / "short.data").write_bytes(b"123")
    with pytest.raises(DefianError, match="'w1' cannot be read"):
        open_graph(written(apart(small(), "short.data"), folder / "bad.onnx"), PLAIN)


def test_another_scale_than_expected_and_a_format_for_a_defian_are_refused(tmp_path):
    path = written(small(), tmp_path / "net.onnx")
    with pytest.raises(DefianError, match="expected a network of scale 4, found one of 2"):
        open_source(path, scale=4)
    with pytest.raises(DefianError, match="is a DeFiAN"):
        open_source("defian-s-x2", PictureFormat("0..255"))
    with pytest.raises(DefianError, match="--io float is for parity tests"):
        open_source(path).trace(Io.FLOAT)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input_range": "0..2"}, "expected one of 0..1, 0..255, -1..1"),
        ({"mean": (0.1,)}, "--mean: expected 3 finite numbers"),
        ({"std": (0.1, 0.2, float("nan"))}, "--std: expected 3 finite numbers"),
        ({"std": (0.1, 0.2, 0.0)}, "above 0"),
        ({"order": Order.BGR, "channels": Channels.Y}, "luma is one channel"),
    ],
)
def test_a_format_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(DefianError, match=message):
        PictureFormat(**wrong)
