from __future__ import annotations

import re

import numpy as np
import onnx_ir as ir
import pytest

from defian_edge.calibration.photos import bundled_photos
from defian_edge.export.graph import Emitter, nodes_of_type
from defian_edge.export.rewrites import ALL, PORTABLE, Rewrite, Use, apply_rewrites, select
from defian_edge.export.roofline.counts import statistics
from defian_edge.export.trace.hessian_op import operator_nodes
from defian_edge.export.trace.network import Io
from defian_edge.models.defian import Architecture, small
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.images import downscale, read_image
from tests.conftest import noise, random_checkpoint, realistic_checkpoint, tiny
from tests.export.proof import relative_error, run_graph, run_reference

TOLERANCE = 2e-5
ODD_SHAPES = [(1, 17, 23), (3, 9, 8), (1, 1, 2), (1, 2, 1), (2, 1, 9), (1, 3, 3), (1, 4, 2)]
BY_NAME = {rewrite.name: rewrite for rewrite in ALL}
AFTER = {
    "one-channel-dac": ["spatial-statistics"],
    "shuffle-last": ["affine-folding", "upscale-output"],
    "one-pass-variance": ["spatial-statistics"],
    "ring-selection": ["affine-folding", "upscale-output"],
    "pixel-order": ["affine-folding", "upscale-output", "shuffle-last"],
}
"""Rewrites that find their place only after others made it."""
FOR_WINDOWS = frozenset({"rounded-up-sizes", "slice-assignments"})
"""For networks that pad by themselves and mask windows, which DeFiAN does not; test_window_rewrites.py has them."""


def photo() -> np.ndarray:
    lr, _ = downscale(read_image(bundled_photos(("astronaut.png",))[0])[:160, 100:292], 2)
    return lr[None]


def run(model, images):
    """The graph's values; image by image if it takes one at a time."""
    batch = model.graph.inputs[0].shape[0]
    return (
        np.concatenate([run_graph(model, image[None]) for image in images]) if batch == 1 else run_graph(model, images)
    )


@pytest.mark.parametrize("name", sorted(BY_NAME.keys() - FOR_WINDOWS))
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_each_rewrite_alone_changes_the_graph_and_not_the_picture(traced, name, scale):
    checkpoint = random_checkpoint(tiny(scale))
    model = traced(checkpoint)
    apply_rewrites(model, [BY_NAME[earlier] for earlier in AFTER.get(name, [])])
    assert BY_NAME[name](model).changed
    for shape in ODD_SHAPES:
        image = noise(*shape, 3)
        assert relative_error(run(model, image), run_reference(checkpoint, image)) <= TOLERANCE, shape


@pytest.mark.parametrize("use", list(Use), ids=lambda use: use.value)
@pytest.mark.parametrize(
    "architecture", [small(2), small(3), small(4), Architecture(64, 20, 1, 3)], ids=["S x2", "S x3", "S x4", "L module"]
)
def test_all_rewrites_together_keep_the_picture_border_included(traced, architecture, use):
    checkpoint = realistic_checkpoint(architecture)
    model = traced(checkpoint)
    results = apply_rewrites(model, select(use=use))
    assert {result.name for result in results if not result.changed} == FOR_WINDOWS
    for image in (photo(), *(noise(*shape, 3) for shape in ODD_SHAPES)):
        values, reference = run(model, image), run_reference(checkpoint, image)
        assert relative_error(values, reference) <= TOLERANCE
        border = np.ones(values.shape[1:3], bool)
        border[6:-6, 6:-6] = False
        assert relative_error(values[:, border], reference[:, border]) <= TOLERANCE


def test_a_rewrite_that_changes_nothing_says_why(traced):
    model = traced(random_checkpoint(tiny()))
    done = [rewrite(model) for rewrite in (BY_NAME["spatial-statistics"], BY_NAME["cheap-hessian"])]
    assert [result.why_none for result in done] == ["", ""]
    assert "has written the eigenvalue step already" in BY_NAME["cheap-hessian"](model).why_none
    again = BY_NAME["spatial-statistics"](model)
    assert re.fullmatch(r"none of \d+ ReduceMean nodes is the start of a variance .*", again.why_none)


def test_a_network_with_other_stencils_is_told_why_its_eigenvalue_step_stays(traced):
    checkpoint = random_checkpoint(tiny())
    for name in checkpoint.state:
        if ".grad_xy.weight" in name:
            checkpoint.state[name] = checkpoint.state[name] * 1.5
    model = traced(checkpoint)
    assert not operator_nodes(model), "the stencils were changed"
    assert "the stencils of no module are the standard ones" in BY_NAME["cheap-hessian"](model).why_none


@pytest.mark.parametrize("use", list(Use), ids=lambda use: use.value)
def test_rewrites_for_windows_leave_every_byte_of_defian_and_say_why(traced, use):
    checkpoint = random_checkpoint(tiny())
    model, without = traced(checkpoint), traced(checkpoint)
    results = apply_rewrites(model, select(use=use))
    apply_rewrites(without, select(FOR_WINDOWS, use))
    assert ir.to_proto(model).SerializeToString() == ir.to_proto(without).SerializeToString()
    assert {result.name: result.why_none for result in results if not result.changed} == {
        "rounded-up-sizes": "the graph has no Mod",
        "slice-assignments": "the graph has no ScatterND",
    }


class Careless(Rewrite):
    """A rewrite that breaks what it is told to."""

    name, summary, operator, place = "careless", "breaks the graph", "Conv", "any"

    def __init__(self, breaks: str) -> None:
        self.breaks = breaks

    def rewrite(self, model: ir.Model) -> int:
        graph = model.graph
        if self.breaks == "name":
            graph.outputs[0].name = "other"
        elif self.breaks == "rank":
            graph.outputs[0].shape = ir.Shape(["n", "h", "w"])
        else:
            first, *_, last = list(graph)
            last.replace_input_with(0, ir.Value(name="from nowhere", type=first.outputs[0].type))
        return 1


@pytest.mark.parametrize(("breaks", "said"), [("name", "found .*other"), ("rank", "found"), ("reader", "from nowhere")])
def test_a_rewrite_that_leaves_no_graph_or_another_interface_is_found_out_at_once(traced, breaks, said):
    with pytest.raises(RuntimeError, match=f"careless: .*{said}"):
        Careless(breaks)(traced(random_checkpoint(tiny())))


@pytest.mark.parametrize(
    ("first", "second"), [("one-channel-dac", "spatial-statistics"), ("vector-products", "cheap-hessian")]
)
def test_an_order_in_which_one_rewrite_takes_the_places_of_another_is_refused(traced, first, second):
    with pytest.raises(ValueError, match=f"{first} comes after {second}"):
        apply_rewrites(traced(random_checkpoint(tiny())), [BY_NAME[first], BY_NAME[second]])


def test_what_a_rewrite_comes_after_is_what_the_proofs_apply_before_it():
    assert {name: set(rewrite.after) for name, rewrite in BY_NAME.items() if rewrite.after} == {
        **{name: set(earlier) for name, earlier in AFTER.items()},
        "upscale-output": {"affine-folding"},
    }


@pytest.mark.parametrize("name", BY_NAME)
def test_a_rewrite_refuses_a_graph_it_does_not_apply_to(name):
    emit = Emitter()
    image = ir.Value(name="image", shape=ir.Shape([1, 3, 8, 8]), type=ir.TensorType(ir.DataType.FLOAT))
    grown = emit("Conv", image, emit.constant(np.ones((8, 3, 3, 3), np.float32)), pads=[1] * 4)
    # Each line looks like a rewrite's target and misses its precondition.
    strided = emit("ConvTranspose", grown, emit.constant(np.ones((8, 3, 2, 2), np.float32)), strides=[2, 2])
    shuffled = emit("DepthToSpace", emit("Conv", grown, emit.constant(np.ones((12, 8, 1, 1), np.float32))), blocksize=2)
    mean = emit("ReduceMean", emit("Mul", strided, strided), emit.constant([1]), keepdims=0)
    summed = emit("Add", emit("Add", strided, shuffled), emit("Unsqueeze", mean, emit.constant([1])))
    summed.name = "upscaled"
    graph = ir.Graph([image], [summed], nodes=emit.nodes, opset_imports={"": 20}, name="other")
    model = ir.Model(graph, ir_version=10)
    before = ir.to_proto(model).SerializeToString()
    assert not BY_NAME[name](model).changed
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.parametrize("name", BY_NAME)
def test_a_rewrite_finds_nothing_to_do_the_second_time(traced, name):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model, ALL)
    assert not BY_NAME[name](model).changed


def test_engines_for_larger_batches_keep_the_gates_apart_and_the_batch_open(traced):
    checkpoint, model = random_checkpoint(tiny()), traced(random_checkpoint(tiny()))
    rewrites = select(use=Use.ENGINE, largest_batch=3)
    assert [rewrite.name for rewrite in ALL if rewrite not in rewrites] == ["early-attention"]
    apply_rewrites(model, rewrites)
    images = noise(3, 9, 8, 3)
    assert relative_error(run_graph(model, images), run_reference(checkpoint, images)) <= TOLERANCE


def test_a_graph_with_gates_in_its_weights_refuses_a_batch_of_two(traced):
    model = traced(random_checkpoint(tiny()))
    apply_rewrites(model, select(use=Use.ENGINE))
    with pytest.raises(Exception, match=r"Got: 2 Expected: 1"):
        run_graph(model, noise(2, 9, 8, 3))


@pytest.mark.parametrize("use", list(Use), ids=lambda use: use.value)
@pytest.mark.parametrize("io", list(Io), ids=lambda io: io.value)
def test_inputs_and_outputs_keep_their_names(traced, io, use):
    model = traced(random_checkpoint(tiny()), io)
    before = [value.name for value in (*model.graph.inputs, *model.graph.outputs)]
    apply_rewrites(model, select(use=use))
    assert [value.name for value in (*model.graph.inputs, *model.graph.outputs)] == before


def test_a_selection_between_other_constants_is_no_ring():
    emit = Emitter()
    a, b = (ir.Value(name=name, type=ir.TensorType(ir.DataType.BOOL), shape=ir.Shape([2])) for name in "ab")
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    mask = emit("Where", a, emit.constant(1.0), emit.constant(0.0))
    other = emit("Where", b, emit.constant(5.0), emit.constant(3.0))
    total = emit("Add", x, emit("Mul", mask, other))
    total.name = "y"
    graph = ir.Graph([a, b, x], [total], nodes=emit.nodes, opset_imports={"": 20}, name="two")
    model = ir.Model(graph, ir_version=9)
    before = [node.op_type for node in model.graph]
    assert not BY_NAME["ring-selection"](model).changed
    assert [node.op_type for node in model.graph] == before


def test_a_portable_graph_has_none_of_the_rewrites_for_engines():
    assert select() == PORTABLE
    apart = {
        "early-attention",
        "one-pass-variance",
        "hessian-slices",
        "vector-products",
        "ring-selection",
        "pixel-order",
    }
    assert {rewrite.name for rewrite in ALL} - {rewrite.name for rewrite in PORTABLE} == apart


def test_only_the_expected_operators_are_left(traced, bundled_x2):
    model = traced(bundled_x2)
    apply_rewrites(model)
    kinds = {node.op_type for node in model.graph}
    assert not {"ConvTranspose", "Expand", "Reshape", "Gather", "Identity", "Constant"} & kinds
    assert len(list(nodes_of_type(model.graph, "DepthToSpace"))) == 1


def test_the_rewritten_graph_has_fewer_nodes_and_multiplications_than_the_plain_one(traced, bundled_x2):
    plain, rewritten = traced(bundled_x2), traced(bundled_x2)
    apply_rewrites(rewritten)
    shape = (1, 540, 960)
    before, after = statistics(plain, shape), statistics(rewritten, shape)
    assert after.nodes <= 940
    assert after.nodes < before.nodes
    assert after.macs < before.macs


def test_a_rewrite_can_be_switched_off_and_an_unknown_name_is_refused():
    assert "cheap-hessian" not in [rewrite.name for rewrite in select(["cheap-hessian"])]
    assert len(select(["cheap-hessian"], Use.ENGINE)) == len(ALL) - 1
    with pytest.raises(DefianError, match="upscale-output"):
        select(["cheap-hesian"])
