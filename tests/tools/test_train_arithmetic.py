"""The trainer's arithmetic against the reference network and PyTorch's Adam, and what a CUDA graph demands of it."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from defian_edge.calibration.photos import EvaluationPair
from defian_edge.models.defian import DILATIONS, Architecture, DeFiAN, HessianFilter, normalise, small
from defian_edge.runtime.images import downscale
from tests.conftest import noise, tiny
from tools.train import counts
from tools.train.flat import ALIGNMENT, Layout
from tools.train.hessian import PLAIN, EigenvalueMaps
from tools.train.network import complete, reads_half, trained_names
from tools.train.patches import PatchBank
from tools.train.roofline import work_of
from tools.train.step import Step
from tools.train.update import Rule, State, update

CPU = torch.device("cpu")


def without_biases(network: nn.Module) -> nn.Module:
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad and name.endswith("bias"):
            parameter.data.zero_()
    return network


def make_step(network: DeFiAN, *, bf16: bool = False) -> Step:
    scale = network.architecture.scale
    lr, hr = downscale(noise(60 * scale, 50 * scale, 3), scale)
    bank = PatchBank([EvaluationPair("noise", lr, hr)], scale, 12, CPU)
    step = Step(network, bank, 2, CPU, bf16=bf16)
    step.draws.copy_(bank.draws(0, 0, 2))
    step.rates.fill_(1e-3)
    return step


def test_eigenvalue_maps_and_their_slopes_are_those_of_the_models_filter_without_biases():
    filters = [without_biases(HessianFilter(16, dilation)).double() for dilation in DILATIONS]
    r = torch.randn(2, 16, 13, 9, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weight = torch.randn(2, 3, 13, 9, generator=torch.Generator().manual_seed(1))
    maps = EigenvalueMaps.apply(r, PLAIN)
    exact = r.detach().double().requires_grad_()
    expected = torch.cat([each(exact).mean(dim=1, keepdim=True) for each in filters], dim=1)
    torch.testing.assert_close(maps.double(), expected, rtol=0, atol=2e-6)
    (slope,) = torch.autograd.grad(maps, r, weight)
    (expected_slope,) = torch.autograd.grad(expected, exact, weight.double())
    torch.testing.assert_close(slope.double(), expected_slope, rtol=0, atol=2e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_flat_patches_have_finite_slopes(kind):
    r = torch.full((1, 16, 9, 9), 0.25, dtype=kind, requires_grad=True)
    (slope,) = torch.autograd.grad(EigenvalueMaps.apply(r, PLAIN).sum(), r)
    assert torch.isfinite(slope).all()
    assert slope.dtype == kind


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_loss_and_gradients_are_those_of_the_reference_network(scale):
    torch.manual_seed(scale)
    network = without_biases(DeFiAN(tiny(scale)))
    assert isinstance(network, DeFiAN)
    step = make_step(network)
    lr, hr = step.bank.gather(step.draws[0])
    low, high = step.normalised(lr), step.normalised(hr)
    loss, gradients = step.gradients(low, high)
    expected = (network(low) - high).abs().mean()
    torch.testing.assert_close(loss, expected.detach())
    names = trained_names(network)
    parameters = dict(network.named_parameters())
    wanted = torch.autograd.grad(expected, [parameters[name] for name in names])
    largest = max(float(each.norm()) for each in wanted)
    for name, gradient in zip(names, wanted, strict=True):
        torch.testing.assert_close(gradients[name], gradient, rtol=2e-3, atol=1e-5 * largest, msg=name)


def test_the_step_normalises_as_the_model_does():
    step = make_step(DeFiAN(tiny()))
    lr, _ = step.bank.gather(step.draws[0])
    expected = normalise(lr.permute(0, 3, 1, 2).float() / 255.0)
    torch.testing.assert_close(step.normalised(lr), expected)
    assert step.normalised(lr).is_contiguous(memory_format=torch.channels_last)


def test_bf16_learns_what_fp32_learns_to_a_hundredth():
    losses = []
    for bf16 in (False, True):
        torch.manual_seed(0)
        step = make_step(DeFiAN(tiny()), bf16=bf16)
        for _ in range(5):
            step()
        losses.append(float(step.state.loss_sum / step.state.loss_count))
        assert step.state.skipped == 0
        assert step.row == 5
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def test_a_step_takes_nothing_from_the_host_and_asks_nothing_back():
    """What would break the capture of a CUDA graph: values read by the host, constants made by it, counted indices."""
    step, seen = make_step(DeFiAN(tiny()), bf16=True), Counter[str]()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen[str(function)] += 1
            index = args[1] if str(function) == "aten.index.Tensor" else ()
            assert not any(each.dtype in (torch.bool, torch.uint8) for each in index)
            return function(*args, **(kwargs or {}))

    with Watch():
        step()
    host = ("_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero", "_assert_async", "masked_select", "equal")
    assert seen["aten.convolution_backward.default"] > 10
    assert not [name for name in seen if name.split(".")[1] in host]


def test_frozen_parts_stay_as_they_are_and_biases_become_zero():
    network = DeFiAN(tiny())
    state = complete({}, tiny())
    assert set(state) == set(network.state_dict())
    assert float(state["body.0.hessian3.0.grad_xx.bias"].abs().max()) == 0.0
    stencil = "body.0.hessian3.0.grad_xy.weight"
    assert torch.equal(state[stencil], network.state_dict()[stencil])
    assert not any("grad_" in name for name in trained_names(network))


def test_a_layout_gives_back_what_it_was_given_and_aligns_every_tensor():
    network = DeFiAN(Architecture(16, 1, 1, 3))
    parameters = dict(network.named_parameters())
    shapes = {name: tuple(parameters[name].shape) for name in trained_names(network)}
    layout = Layout(shapes, [name for name in shapes if reads_half(name)])
    vector = layout.pack(parameters, CPU)
    assert all(slot.start % ALIGNMENT == 0 for slot in (*layout.half, *layout.full))
    assert 0 < layout.boundary < layout.size
    for name, tensor in layout.unpack(vector).items():
        assert torch.equal(tensor, parameters[name])
    gradients = {name: torch.randn(shape) for name, shape in shapes.items()}
    gathered = torch.full_like(vector, 7.0)
    layout.gather_gradients(gradients, gathered, torch.zeros(ALIGNMENT))
    for name, tensor in layout.unpack(gathered).items():
        assert torch.equal(tensor, gradients[name])
    used = sum(slot.size for slot in (*layout.half, *layout.full))
    assert int((gathered != 0).sum()) == used < layout.size


def test_updates_are_those_of_pytorchs_adam_with_a_clipped_gradient():
    rule, random = Rule(), torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(50, generator=random))
    state = State(parameter.detach().clone())
    adam = torch.optim.Adam([parameter], lr=1e-2, betas=(rule.beta1, rule.beta2), eps=rule.epsilon)
    average = parameter.detach().clone()
    for count in range(1, 8):
        gradient = torch.randn(50, generator=random) * (10.0 if count % 2 else 0.01)
        update(state, gradient.clone(), torch.tensor(1.0), torch.tensor(1e-2), rule)
        parameter.grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_([parameter], rule.clip)
        adam.step()
        average.lerp_(parameter.detach(), 1 - (1 + count) / (10 + count))
    torch.testing.assert_close(state.master, parameter.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(state.average, average, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(bad):
    state = State(torch.randn(40, generator=torch.Generator().manual_seed(0)))
    update(state, torch.ones(40), torch.tensor(1.0), torch.tensor(1e-2), Rule())
    before = state.copy()
    gradient = torch.ones(40)
    gradient[3] = bad
    update(state, gradient, torch.tensor(1.0), torch.tensor(1e-2), Rule())
    after = state.copy()
    assert after.pop("skipped") == before.pop("skipped") + 1
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_counted_parts_make_up_a_step():
    counted = counts.parts(batch=1, patch=12)
    step = make_step(DeFiAN(small(2)), bf16=True)
    whole = counts.count(step)
    together = sum(times * part.operations for times, part in counted.values())
    assert together == pytest.approx(whole.operations, rel=0.02)
    assert counted["Hessian"][1].operations > 100


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_rooflines_work_is_that_of_the_network_at_full_size(scale):
    operations = 0

    def add(layer, _, output):
        nonlocal operations
        operations += 2 * layer.weight.shape[2] * layer.weight.shape[3] * layer.in_channels * output.numel()

    network = DeFiAN(tiny(scale))
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) and layer.weight.requires_grad:
            layer.register_forward_hook(add)
    with torch.no_grad():
        network(torch.zeros(2, 3, 20, 20))
    assert work_of(tiny(scale), 2, 20, 4).operations == 3 * operations
