"""The trainer's hand-written kernels against PyTorch's operations: on a GPU, elsewhere in Triton's interpreter."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch

from models.defian import DILATIONS, HessianFilter
from tests.tools.conftest import run
from tools.train import device as device_module
from tools.train.fused import CLOSE, UnprovenError, features, hessian_kernels, prove
from tools.train.hessian import PLAIN, TINY, EigenvalueMaps, Kernels

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read where the kernels are defined
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def kernels(monkeypatch) -> Kernels:
    """The Hessian's; where they are interpreted, one program after the other, each has a whole small picture."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from tools.train import hessian_kernels as module

    if DEVICE.type == "cpu":
        monkeypatch.setattr(module, "FORWARD_PIXELS", 512)
        monkeypatch.setattr(module, "BACKWARD_PIXELS", 512)
    return module.FUSED


def exact_maps(r):
    """In FP64, from the reference network's banks of filters."""
    maps = []
    for dilation in DILATIONS:
        hessian = HessianFilter(r.shape[1], dilation).to(r.device, torch.float64)
        for name, parameter in hessian.named_parameters():
            if name.endswith("bias"):
                parameter.data.zero_()
        xx, yy, xy = hessian.grad_xx(r), hessian.grad_yy(r), hessian.grad_xy(r)
        largest = (xx + yy + ((xx - yy) ** 2 + 4 * xy**2 + TINY).sqrt()) / 2
        maps.append(largest.mean(dim=1, keepdim=True))
    return torch.cat(maps, dim=1)


def both_ways(maps_of, r, slope):
    leaf = r.detach().requires_grad_()
    maps = maps_of(leaf)
    return maps.detach(), *torch.autograd.grad(maps, leaf, slope)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((1, 16, 17, 23), torch.channels_last),
        ((1, 16, 17, 23), torch.contiguous_format),
        ((1, 48, 2, 3), torch.channels_last),
        ((2, 16, 1, 1), torch.contiguous_format),
    ],
)
def test_the_hessians_kernels_give_what_fp64_gives(kernels, shape, layout):
    made = torch.Generator().manual_seed(0)
    r = torch.randn(shape, generator=made).to(DEVICE).contiguous(memory_format=layout)
    slope = torch.randn(shape[0], 3, *shape[2:], generator=made).to(DEVICE).contiguous(memory_format=layout)
    maps, gradient = both_ways(lambda leaf: EigenvalueMaps.apply(leaf, kernels), r, slope)
    assert gradient.stride() == r.stride()
    expected, expected_gradient = both_ways(exact_maps, r.double(), slope.double())
    torch.testing.assert_close(maps.double(), expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=2e-6)


def test_programs_of_their_real_size_cover_a_picture(kernels, monkeypatch):
    from tools.train import hessian_kernels as module

    monkeypatch.undo()
    assert module.BACKWARD_PIXELS < 3 * 7
    prove(kernels, features((1, 8, 3, 7), torch.float32, DEVICE))


def test_in_bf16_they_differ_by_a_rounding(kernels):
    prove(kernels, features((2, 16, 8, 8), torch.bfloat16, DEVICE))


def test_where_all_is_flat_slopes_are_zero(kernels):
    r = torch.full((1, 16, 15, 15), 0.25, device=DEVICE)
    slope = torch.ones(1, 3, 15, 15, device=DEVICE)
    _, gradient = both_ways(lambda leaf: EigenvalueMaps.apply(leaf, kernels), r, slope)
    assert torch.isfinite(gradient).all()
    assert not gradient[:, :, 7, 7].any()


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (replace(PLAIN, maps=lambda r: PLAIN.maps(r) * (1 + 3 * CLOSE[torch.float32])), "maps differ by"),
        (replace(PLAIN, gradient=lambda r, slope: PLAIN.gradient(r, slope).roll(1, 2)), "gradient differ by"),
        (replace(PLAIN, gradient=lambda r, slope: PLAIN.gradient(r, slope) * float("nan")), "differ by nan"),
    ],
)
def test_kernels_with_other_results_are_not_used(spoiled, message):
    r = features((2, 16, 12, 12), torch.float32, DEVICE)
    prove(PLAIN, r)
    with pytest.raises(UnprovenError, match=message):
        prove(spoiled, r)


def test_a_cpu_trains_by_pytorchs_operations_and_the_summary_says_so(options):
    with pytest.raises(UnprovenError, match="written for a GPU"):
        hessian_kernels(torch.device("cpu"), (1, 16, 8, 8), torch.float32)
    summary = run(replace(options, steps=1))
    assert summary["kernels"] == {"Hessian": "PyTorch: kernels are written for a GPU"}
    without = run(replace(options, steps=1, triton=False, out=options.out.parent / "without"))
    assert without["kernels"] == {"Hessian": "PyTorch: --no-triton"}


def test_proven_kernels_make_the_steps(options, monkeypatch):
    used = []

    def maps(r):
        used.append(r.shape)
        return PLAIN.maps(r)

    monkeypatch.setattr(device_module, "hessian_kernels", lambda *_: replace(PLAIN, maps=maps))
    summary = run(replace(options, steps=2))
    assert summary["kernels"] == {"Hessian": "Triton"}
    assert used == [(2, 16, 12, 12)] * 2
