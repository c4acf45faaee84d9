"""The trainer's hand-written kernels against PyTorch's operations: on a GPU, elsewhere in Triton's interpreter."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from defian_edge.calibration.photos import EvaluationPair
from defian_edge.models.defian import DILATIONS, DeFiAN, HessianFilter
from tests.conftest import noise, tiny
from tests.tools.conftest import OPTIONS, run
from tools.train import counts
from tools.train import device as device_module
from tools.train.device import Runner
from tools.train.fused import CLOSE, UnprovenError, block_kernels, features, hessian_kernels, prove, prove_block
from tools.train.hessian import PLAIN, TINY, EigenvalueMaps, Kernels
from tools.train.network import residual_block
from tools.train.patches import PatchBank
from tools.train.step import Step

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read where the kernels are defined
PARTS = ("Hessian", "residual block")
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
        ((1, 16, 1, 1), torch.contiguous_format),
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


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 32, 17, 19), (1, 48, 5, 3)])
def test_the_residual_blocks_kernels_give_pytorchs_results_and_gradients(shape, kind):
    pytest.importorskip("triton", reason="Triton is not installed")
    from tools.train import block_kernels as module

    assert module.CHUNK == counts.CHUNK
    assert shape[0] == 1 or shape[2] * shape[3] > module.CHUNK  # several programs a picture, the last not full
    prove_block(module.residual_block, features(shape, kind, DEVICE))


@pytest.mark.parametrize("spoil", [lambda x: x * 1.01, lambda x: x * float("nan")])
def test_a_residual_block_with_other_results_is_not_used(spoil):
    x = features((2, 16, 12, 12), torch.float32, DEVICE)

    def with_spoiled_slope(x, *weights):
        last = weights[-1].clone()
        last.register_hook(spoil)
        return residual_block(x, *weights[:-1], last)  # type: ignore[call-arg]

    prove_block(residual_block, x)
    with pytest.raises(UnprovenError, match="the residual block's output differs"):
        prove_block(lambda x, *weights: spoil(residual_block(x, *weights)), x)
    with pytest.raises(UnprovenError, match="gradient by spread_bias differs"):
        prove_block(with_spoiled_slope, x)


def test_a_cpu_trains_by_pytorchs_operations_and_the_summary_says_so(options):
    with pytest.raises(UnprovenError, match="written for a GPU"):
        hessian_kernels(torch.device("cpu"), (1, 16, 8, 8), torch.float32)
    with pytest.raises(UnprovenError, match="written for a GPU"):
        block_kernels(torch.device("cpu"), (1, 16, 8, 8), torch.float32)
    summary = run(replace(options, steps=1))
    assert summary["computed_by"] == dict.fromkeys(PARTS, "PyTorch: kernels are written for a GPU")
    assert summary["remarks"] == []
    without = run(replace(options, steps=1, triton=False, out=options.out.parent / "without"))
    assert without["computed_by"] == dict.fromkeys(PARTS, "PyTorch: --no-triton")


def test_proven_kernels_make_the_steps(options, monkeypatch):
    used = []

    def maps(r):
        used.append(("Hessian", r.shape))
        return PLAIN.maps(r)

    def block(x, *weights):
        used.append(("residual block", x.shape))
        return residual_block(x, *weights)

    monkeypatch.setattr(device_module, "hessian_kernels", lambda *_: replace(PLAIN, maps=maps))
    monkeypatch.setattr(device_module, "block_kernels", lambda *_: block)
    summary = run(replace(options, steps=2))
    assert summary["computed_by"] == dict.fromkeys(PARTS, "Triton")
    assert used == [("residual block", (2, 16, 12, 12)), ("Hessian", (2, 16, 12, 12))] * 2


def test_on_a_gpu_what_is_not_proven_is_a_remark_and_the_other_kernels_stay(tmp_path, monkeypatch):
    def differ(*_):
        raise UnprovenError("the Hessian's maps differ by 1")

    bank = PatchBank([EvaluationPair("noise", noise(30, 30, 3), noise(60, 60, 3, seed=1))], 2, 12, torch.device("cpu"))
    step = Step(DeFiAN(tiny()), bank, 2, torch.device("cpu"), bf16=False)
    monkeypatch.setattr(device_module, "hessian_kernels", differ)
    monkeypatch.setattr(device_module, "block_kernels", lambda *_: residual_block)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _=None: None)
    said: list[str] = []
    runner = Runner(step, replace(OPTIONS, out=tmp_path), said.append)
    step.device = SimpleNamespace(type="cuda")  # type: ignore[assignment]
    proven = runner._proven_kernels(None)
    assert proven == {"block": residual_block}
    assert runner.computed_by == {"Hessian": "PyTorch: the Hessian's maps differ by 1", "residual block": "Triton"}
    assert len(runner.remarks) == len(said) == 1
    assert "the Hessian runs by PyTorch's operations, not by its own kernels" in runner.remarks[0]
