"""INT8 variants that cannot be made, through export.py's own code."""

from __future__ import annotations

import pytest
import torch

from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.export.tables import refusals
from tests.conftest import random_checkpoint, tiny


@pytest.fixture
def deafening(tmp_path):
    """A checkpoint of which no feature map fits FP16."""
    state = {}
    for name, value in random_checkpoint(tiny()).state.items():
        louder = {"input.": 2.0**24, ".coder.0.encoder.0.": 2.0**30, ".coder.0.encoder.2.": 2.0**30}
        state[name] = value * next((factor for part, factor in louder.items() if part in name), 1.0)
    torch.save(state, tmp_path / "deafening.pth")
    return tmp_path / "deafening.pth"


@pytest.mark.parametrize("scope", list(Scope), ids=lambda scope: scope.value)
def test_a_network_without_a_site_in_the_range_of_fp16_is_refused_with_the_reason(deafening, tmp_path, scope):
    options = ExportOptions(
        out=tmp_path / "out",
        precisions=(Precision.INT8,),
        patches=2,
        recipe=Recipe(scope=scope),
        rewrite_memory=False,
    )
    result = run_export(deafening, options)
    assert not result.passed
    assert "every site reads or writes what FP16 cannot hold" in "".join(refusals(result.artefacts))
    assert not list((tmp_path / "out").glob("*.onnx"))
