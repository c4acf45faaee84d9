"""Padding by the network itself and masks of shifted windows: rewritten bit by bit the same, or left with a reason."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.engine.compiler import Target, is_available
from defian_edge.export.engine.memory_plan import plan_of
from defian_edge.export.graph import Emitter, copy_of, settle
from defian_edge.export.rewrites import ALL, apply_rewrites
from defian_edge.export.source.base import ANY_SIZE
from defian_edge.export.source.given import free_sizes
from defian_edge.export.source.picture import PictureFormat
from defian_edge.export.source.sizes import Fit
from defian_edge.export.source.wrap import wrap
from defian_edge.export.trace.exporter import export_graph
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise

BY_NAME = {rewrite.name: rewrite for rewrite in ALL}
PADDING, ASSIGNING = BY_NAME["rounded-up-sizes"], BY_NAME["slice-assignments"]
SIZES = [(1, 17, 23), (3, 9, 8), (1, 4, 4), (2, 33, 16), (1, 7, 40)]
NO_COMPILER = "needs the wheel tensorrt-rtx, which is for x86-64"


def counts(model: ir.Model) -> dict[str, int]:
    return {kind: sum(node.op_type == kind for node in model.graph) for kind in ("Mod", "ScatterND", "Where")}


def results(model: ir.Model, values: np.ndarray) -> np.ndarray:
    return np.asarray(session_of(model).run(None, {model.graph.inputs[0].name: values})[0])


class Regions(nn.Module):
    """Padded by reflection to windows of 4, with the number of each region of a shift by 2, as SwinIR's masks."""

    def forward(self, x):
        height, width = x.shape[2:]
        x = nn.functional.pad(x, (0, -width % 4, 0, -height % 4), "reflect")
        image = torch.zeros(1, x.shape[2], x.shape[3], 1)
        parts = slice(0, -4), slice(-4, -2), slice(-2, None)
        for index, (rows, columns) in enumerate((rows, columns) for rows in parts for columns in parts):
            image[:, rows, columns, :] = index
        image[:, 1:2] = -1.0  # rows alone
        return x + image.permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def free() -> ir.Model:
    dynamic = {axis: torch.export.Dim.DYNAMIC(min=1 if axis == 0 else 4, max=999) for axis in (0, 2, 3)}
    return export_graph(Regions().eval(), torch.rand(2, 3, 17, 23), dynamic, ("x", "y"))


@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_regions_and_padding_are_the_same_at_any_size_bit_by_bit(free, shape):
    model = copy_of(free)
    assert counts(model)["Mod"] == 2
    assert counts(model)["ScatterND"] == 19
    assert [rewrite(model).why_none for rewrite in (PADDING, ASSIGNING)] == ["", ""]
    assert counts(model) == {"Mod": 0, "ScatterND": 0, "Where": counts(free)["Where"] + 10}
    batch, height, width = shape
    values = noise(batch, 3, height, width).astype(np.float32) / 255
    expected = Regions()(torch.from_numpy(values)).numpy()
    assert np.array_equal(results(model, values), expected)
    assert np.array_equal(results(free, values), expected)


def test_a_graph_of_one_size_whose_places_are_constants_is_rewritten_as_well():
    values = noise(1, 3, 97, 101).astype(np.float32) / 255  # so large that the exporter folds no mask
    model = export_graph(Regions().eval(), torch.from_numpy(values), {}, ("x", "y"))
    assert counts(model)["ScatterND"] == 19
    expected = results(model, values)
    assert ASSIGNING(model).changed
    assert counts(model)["ScatterND"] == 0
    assert np.array_equal(results(model, values), expected)


def assigned(start: int, end: int, *, step: int = 1, reduction: str = "none", fill: tuple[float, ...] = (7.0,)):
    """``x[start:end:step] = fill`` as the exporter writes it, for a vector of any length."""
    emit = Emitter()
    x = ir.Value(name="x", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.FLOAT))
    size = emit("Gather", emit("Shape", x, start=0), emit.constant(0), axis=0)
    places = emit("Range", emit.constant(0), size, emit.constant(1))
    ends = [emit.constant([number]) for number in (start, end, 0, step)]
    chosen = emit("Slice", places, *ends)
    written = emit("Expand", emit.constant(np.array(fill, np.float32)), emit("Shape", chosen))
    y = emit("ScatterND", x, emit("Unsqueeze", chosen, emit.constant([-1])), written, reduction=reduction)
    y.name, y.shape, y.type = "y", x.shape, x.type
    model = ir.Model(ir.Graph([x], [y], nodes=emit.nodes, opset_imports={"": 20}, name="assigned"), ir_version=10)
    settle(model)
    return model


@pytest.mark.parametrize("ends", [(0, -4), (-4, -2), (-2, 2**63 - 1), (0, 2**63 - 1), (2, 4), (-9, 3), (5, 2), (3, 99)])
@pytest.mark.parametrize("size", [1, 3, 5, 12])
def test_ends_beyond_the_tensor_and_empty_slices_are_those_of_a_slice(ends, size):
    model, values = assigned(*ends), np.arange(size, dtype=np.float32)
    expected = values.copy()
    expected[slice(*ends)] = 7.0
    assert np.array_equal(results(model, values), expected)
    assert ASSIGNING(model).sites == 1
    assert np.array_equal(results(model, values), expected)


@pytest.mark.parametrize(
    "other",
    [{"step": 2}, {"reduction": "add"}, {"fill": (1.0, 2.0)}, {"fill": (0.0, -0.0)}],
    ids=["each second", "added", "two numbers", "two zeros"],
)
def test_what_is_no_constant_in_a_slice_is_scattered_as_before(other):
    model = assigned(0, 2, **other)
    before = ir.to_proto(model).SerializeToString()
    result = ASSIGNING(model)
    assert result.why_none == "none of 1 ScatterND nodes is a constant written into a slice"
    assert ir.to_proto(model).SerializeToString() == before


def lacking(
    size: str = "Shape", *, multiple: int = 8, fmod: int = 0, ranks: tuple[int, int, int] = (1, 0, 1), doubled: int = 0
) -> ir.Model:
    """``-x % multiple`` for the size of a vector, that less 5, or its first value.

    ``ranks`` are those of x, of the -1 and of the multiple; the size is added to itself so many times first.
    """
    emit = Emitter()
    x = ir.Value(name="x", shape=ir.Shape(["n"]), type=ir.TensorType(ir.DataType.INT64))
    number = emit("Shape", x)
    if size == "less":
        number = emit("Sub", number, emit.constant([5]))
    elif size == "value":
        number = emit("Gather", x, emit.constant([0]))
    for _ in range(doubled):
        number = emit("Add", number, number)
    number = number if ranks[0] else emit("Squeeze", number)
    minus, by = (
        emit.constant(np.full((1,) * rank, each)) for rank, each in zip(ranks[1:], (-1, multiple), strict=True)
    )
    y = emit("Mod", emit("Mul", minus, number), by, fmod=fmod)
    y.name, y.shape, y.type = "y", ir.Shape([1] * max(ranks)), x.type
    model = ir.Model(ir.Graph([x], [y], nodes=emit.nodes, opset_imports={"": 20}, name="lacking"), ir_version=10)
    settle(model)
    return model


@pytest.mark.parametrize("multiple", [1, 2, 3, 8])
def test_what_a_size_lacks_is_the_same_by_division(multiple):
    model = lacking(multiple=multiple)
    assert PADDING(model).sites == 1
    assert counts(model)["Mod"] == 0
    for size in range(20):
        assert results(model, np.zeros(size, np.int64)).tolist() == [-size % multiple]


@pytest.mark.parametrize("ranks", [(0, 0, 0), (1, 0, 0), (0, 0, 1), (0, 1, 1), (1, 2, 2)], ids=str)
def test_what_a_size_lacks_keeps_its_rank(ranks):
    model = lacking(ranks=ranks)
    assert PADDING(model).sites == 1
    found = results(model, np.zeros(13, np.int64))
    assert found.shape == (1,) * max(ranks)
    assert found.item() == 3


@pytest.mark.parametrize("ranks", [(0, 1, 0), (1, 1, 0), (1, 2, 1)], ids=str)
def test_a_remainder_whose_rank_may_be_that_of_the_minus_stays(ranks):
    model = lacking(ranks=ranks)
    assert not PADDING(model).changed
    assert results(model, np.zeros(13, np.int64)).shape == (1,) * max(ranks)


def test_a_size_that_many_sums_lead_to_is_looked_at_once():
    model = lacking(doubled=60)
    assert PADDING(model).sites == 1


@pytest.mark.parametrize(
    "other",
    [{"size": "less"}, {"size": "value"}, {"multiple": -8}, {"fmod": 1}],
    ids=["may be negative", "a value of the picture", "negative multiple", "the sign of x"],
)
def test_remainders_that_division_towards_zero_would_change_stay(other):
    model = lacking(**other)
    before = ir.to_proto(model).SerializeToString()
    assert "none of 1 Mod nodes is what a size lacks to a multiple" in PADDING(model).why_none
    assert ir.to_proto(model).SerializeToString() == before


@pytest.mark.skipif(not is_available(Target.TENSORRT_RTX), reason=NO_COMPILER)
def test_an_engine_for_a_range_of_sizes_plans_half_the_memory_and_no_kernel_for_each_region(free):
    plain = copy_of(free)
    free_sizes(plain, batch=True, height=True, width=True)
    wrap(plain, PictureFormat(), Fit(1), ANY_SIZE)
    rewritten = copy_of(plain)
    apply_rewrites(rewritten, [PADDING, ASSIGNING])
    profile = ShapeProfile.parse("1x16x16,1x64x64,1x180x320")
    before, after = (plan_of(model, profile) for model in (plain, rewritten))
    assert before.activation_bytes is not None
    assert after.activation_bytes is not None
    assert before.traffic is not None
    assert after.traffic is not None
    assert after.activation_bytes < 0.5 * before.activation_bytes
    assert after.traffic.kernels <= before.traffic.kernels - 20
