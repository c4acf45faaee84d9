from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from defian_edge.calibration.drift.evaluator import session_of
from defian_edge.export.rewrites import apply_rewrites
from defian_edge.export.trace.hessian_op import operator_nodes
from defian_edge.export.trace.network import Io, has_standard_stencils
from defian_edge.models.defian import Architecture, small
from tests.conftest import noise, random_checkpoint, realistic_checkpoint, tiny
from tests.export.proof import relative_error, run_graph, run_reference

if TYPE_CHECKING:
    from defian_edge.models.defian import DeFiAM

SHAPES = [(1, 17, 23), (2, 64, 64), (1, 180, 320)]


@pytest.mark.parametrize(
    "architecture", [small(2), small(3), small(4), Architecture(64, 20, 1, 2)], ids=["S x2", "S x3", "S x4", "L module"]
)
def test_the_graphs_equal_pytorch_in_the_normalised_space(traced, architecture):
    checkpoint = realistic_checkpoint(architecture)
    plain = traced(checkpoint, Io.FLOAT)
    rewritten = traced(checkpoint, Io.FLOAT)
    apply_rewrites(rewritten)
    for model in (plain, rewritten):
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
    sessions = [session_of(plain), session_of(rewritten)]
    for shape in SHAPES:
        generator = torch.Generator().manual_seed(1)
        image = torch.randn(shape[0], 3, *shape[1:], generator=generator)
        with torch.inference_mode():
            expected = checkpoint.network()(image).numpy()
        for session in sessions:
            result = np.asarray(session.run(None, {"image": image.numpy()})[0])
            assert np.abs(result - expected).max() <= 1e-4


def test_the_uint8_graph_rounds_and_clamps_what_the_reference_computes(traced, bundled_x2):
    model = traced(bundled_x2)
    image = noise(2, 19, 21, 3)
    upscaled = np.asarray(session_of(model).run(None, {"image": image})[0])
    expected = np.clip(np.round(run_reference(bundled_x2, image)), 0, 255)
    assert upscaled.dtype == np.uint8
    assert upscaled.shape == (2, 38, 42, 3)
    assert np.abs(upscaled - expected).max() <= 1
    assert np.mean(upscaled != expected) < 1e-3


def test_the_eigenvalue_step_is_one_node_per_module_with_a_function_body(traced):
    model = traced(random_checkpoint(tiny()))
    assert len(operator_nodes(model)) == 2
    assert [key[:2] for key in model.functions] == [("defian", "MaxHessianEigenvalue")]


def test_a_checkpoint_with_other_stencils_gets_the_general_form_and_not_a_wrong_picture(traced):
    checkpoint = random_checkpoint(tiny())
    checkpoint.state["body.1.hessian5.0.grad_xx.weight"].mul_(1.5)
    network = checkpoint.network()
    assert [has_standard_stencils(cast("DeFiAM", module)) for module in network.body] == [True, False]
    model = traced(checkpoint)
    assert len(operator_nodes(model)) == 1
    apply_rewrites(model)
    image = noise(1, 17, 23, 3)
    assert relative_error(run_graph(model, image), run_reference(checkpoint, image)) <= 2e-5


def test_convolutions_are_named_as_in_the_checkpoint(traced):
    checkpoint = random_checkpoint(tiny())
    names = {node.name for node in traced(checkpoint).graph if node.op_type == "Conv"}
    assert {"input", "tail", "output", "upscale.0.0", "body.0.body_block.0.block.2"} <= names


def test_the_file_says_nothing_of_the_machine_it_was_made_on(traced):
    text = ir.to_proto(traced(random_checkpoint(tiny()))).SerializeToString()
    assert b"site-packages" not in text
    assert b"/work" not in text
