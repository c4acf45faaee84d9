from __future__ import annotations

import pytest
import torch

from defian_edge.models.defian import DeFiAN, HessianFilter, large, small


@pytest.mark.parametrize(
    ("architecture", "published"),
    [
        (small(2), 1_027_610),
        (small(3), 1_073_690),
        (small(4), 1_064_474),
        (large(2), 15_186_057),
        (large(3), 15_370_377),
        (large(4), 15_333_513),
    ],
    ids=str,
)
def test_the_parameter_count_is_the_published_one(architecture, published):
    with torch.device("meta"):
        network = DeFiAN(architecture)
    assert sum(parameter.numel() for parameter in network.parameters()) == published


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_output_is_scale_times_as_large(scale):
    with torch.inference_mode():
        assert DeFiAN(small(scale)).eval()(torch.zeros(2, 3, 5, 7)).shape == (2, 3, 5 * scale, 7 * scale)


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_the_filter_gives_the_larger_eigenvalue_of_the_hessian(dilation):
    filter_ = HessianFilter(1, dilation)
    for bank in (filter_.grad_xx, filter_.grad_yy, filter_.grad_xy):
        assert bank.bias is not None
        torch.nn.init.zeros_(bank.bias)
    image = torch.randn(1, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, x, d = 8, 7, dilation
    plane = image[0, 0]
    fxx = plane[y, x - d] - 2 * plane[y, x] + plane[y, x + d]
    fyy = plane[y - d, x] - 2 * plane[y, x] + plane[y + d, x]
    fxy = plane[y - d, x - d] + plane[y + d, x + d] - plane[y - d, x + d] - plane[y + d, x - d]
    expected = torch.linalg.eigvalsh(torch.stack([fxx, fxy, fxy, fyy]).view(2, 2)).max()
    assert filter_.double()(image)[0, 0, y, x].item() == pytest.approx(expected.item(), rel=1e-9)


def test_frozen_stencils_and_biases_are_not_trained():
    network = DeFiAN(small(2))
    assert not any(p.requires_grad for name, p in network.named_parameters() if "hessian" in name)
    assert network.input.weight.requires_grad
