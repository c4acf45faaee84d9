"""Any torch.nn.Module becomes a graph that gives its pictures at any size; what cannot says why in a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import defian_edge as de
from defian_edge.calibration.drift.evaluator import GraphEvaluator, session_of
from defian_edge.export.precision import Precision
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.export.source.module import trace_size
from defian_edge.export.source.opening import open_source
from defian_edge.export.source.picture import Channels, PictureFormat
from defian_edge.export.source.sizes import Fit
from defian_edge.export.trace.network import Io
from defian_edge.runtime.errors import DefianError
from tests.conftest import noise
from tools.architectures import ARCHITECTURES, LUMA_ALONE, Edsr, Rcan, Swin, random_network, scale_of

TRAPS = ("RCAN", "SPAN", "SAFMN", "SwinIR", "FSRCNN (luma)")
"""Those that are known to trip an exporter; ``python -m tools.networks`` goes through all, and test_given_graphs.py has
the others."""


def by_hand(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """What PyTorch makes of uint8 RGB [N, H, W, 3], before rounding: [N, sH, sW, 3]."""
    with torch.inference_mode():
        values = network(torch.from_numpy(images / 255).to(torch.float32).permute(0, 3, 1, 2))
    return np.clip(255 * values.permute(0, 2, 3, 1).numpy(), 0, 255)


@pytest.fixture(scope="module", params=TRAPS)
def traced(request):
    name = request.param
    picture = PictureFormat(channels=Channels.Y if name in LUMA_ALONE else Channels.RGB)
    network = open_source(random_network(name), picture)
    return name, network, network.trace(Io.UINT8)


def test_the_graph_gives_the_module_s_pictures_at_three_sizes_and_in_a_batch(traced):
    name, network, graph = traced
    evaluate, session = GraphEvaluator(graph), session_of(graph)
    for count, height, width in ((2, 17, 23), (3, 20, 20), (1, 33, 20)):
        images = noise(count, height, width, 3)
        expected = [network.evaluate(image) for image in images]
        assert np.abs(evaluate(images[0]).values - expected[0].values).max() < 0.02
        batch = np.asarray(session.run(None, {"image": images})[0])
        assert np.abs(batch - np.stack([each.values for each in expected])).max() < 0.53
        if name not in LUMA_ALONE and not network.description.count("padded"):
            assert np.abs(expected[0].values - by_hand(random_network(name), images[:1])[0]).max() < 1e-2


def test_its_fp16_graph_is_valid_and_near(traced):
    _, network, graph = traced
    half = make_fp16(graph)
    Variant(Precision.FP16, half).serialise()
    lr = noise(17, 23, 3)
    difference = np.abs(GraphEvaluator(half)(lr).values - network.evaluate(lr).values)
    assert 0 < difference.max() < 2.0
    convolutions = [node for node in half.graph if node.op_type in ("Conv", "MatMul")]
    typed = sum(str(node.outputs[0].dtype) == "FLOAT16" for node in convolutions)
    assert typed > len(convolutions) / 2


def test_every_architecture_is_known_by_its_scale():
    for name, make in ARCHITECTURES.items():
        picture = PictureFormat(channels=Channels.Y if name in LUMA_ALONE else Channels.RGB)
        assert open_source(make().eval(), picture).scale == scale_of(name), name


def test_global_and_local_networks_are_told_apart_by_measuring():
    assert open_source(random_network("RCAN")).reach == {"whole_image": True}
    local = open_source(random_network("EDSR")).reach
    # one convolution at either end of the body, two in each of two blocks, one behind them, and the tail's in part
    assert not local["whole_image"]
    assert 7 <= local["pixels"] <= 8
    assert open_source(random_network("PLKSR")).reach["pixels"] >= 8 + 3
    # windows of 4, shifted by 2: from the first pixel of one to the end of the next, and a convolution at either end
    assert open_source(random_network("SwinIR")).reach == {"whole_image": False, "pixels": 5}
    assert open_source("defian-s-x2").reach == {"whole_image": True}


def test_the_module_stays_as_it_was_and_what_happens_to_it_later_is_not_exported():
    module = Rcan().train()
    network = open_source(module)
    before = network.evaluate(noise(8, 9, 3)).values
    assert module.training
    assert all(each.requires_grad for each in module.parameters())
    with torch.no_grad():
        for each in module.parameters():
            each.zero_()
    assert np.array_equal(network.evaluate(noise(8, 9, 3)).values, before)


@pytest.mark.parametrize("size", [20, 24, 32, 40])
def test_a_network_is_not_traced_at_a_size_that_it_was_made_for(size):
    """SwinIR keeps the mask of one size; traced at it, the graph would be right there and wrong everywhere else."""
    height, width = trace_size(Swin(image_size=size), Fit(2))
    assert height != width
    assert width % height
    padded = {-(-side // window) * window for side in (height, width) for window in (1, 2, 4, 8, 16, 32, 64)}
    assert size not in padded


class Twice(nn.Module):
    def forward(self, x):
        return x, x


class Branches(nn.Module):
    """What is computed depends on the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        y = self.conv(x)
        return y if float(y.mean()) > 0.1 else y - 1


class Loops(Branches):
    """How often is known by running it; torch prints the program that it gave up."""

    def forward(self, x):
        y = self.conv(x)
        while y.abs().max() > 10:
            y = y / 2
        return y


class Warps(Branches):
    """A grid of the size and number of the example's images."""

    def forward(self, x):
        turn = torch.eye(2, 3)[None].expand(x.shape[0], -1, -1)
        grid = nn.functional.affine_grid(turn, x.shape, align_corners=False)
        return nn.functional.grid_sample(self.conv(x), grid, align_corners=False)


class Shrinks(nn.Module):
    def forward(self, x):
        return x[:, :, 1:-1, 1:-1]


class NotFinite(nn.Conv2d):
    def __init__(self) -> None:
        super().__init__(3, 3, 3, padding=1)
        with torch.no_grad():
            self.weight[0, 0, 0, 0] = float("nan")


REFUSED = {
    "two results": (Twice, "gives 2 results"),
    "a classifier": (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), r"gives \[1, 3\]"),
    "another number of channels": (lambda: nn.Conv2d(4, 4, 3, padding=1), "does not run at"),
    "a border that is lost": (Shrinks, "no integer multiple"),
    "NaN in a weight": (NotFinite, "found NaN or Inf in weight"),
    "what depends on values": (Branches, "torch.onnx could not export the network: "),
    "a loop": (Loops, "torch.onnx could not export the network: Could not guard on data-dependent expression"),
    "what depends on the example": (Warps, r"Received .* but tracing inferred a static shape of \d+ for dimension"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_module_that_cannot_be_exported_says_why_in_a_sentence(case, capfd):
    make, message = REFUSED[case]
    with pytest.raises(DefianError, match=message) as error:
        open_source(make()).trace(Io.UINT8)
    assert "\n" not in error.value.message
    assert len(error.value.message) < 400
    assert capfd.readouterr() == ("", "")


def test_another_scale_than_said_is_refused():
    with pytest.raises(DefianError, match="expected a network of scale 4, found that it enlarges by 2"):
        open_source(Edsr().eval(), scale=4)


def test_a_module_goes_the_whole_way_from_python(tmp_path):
    """Export with a budget, manifest, reference pack, the runtime with tiles, and what a device would verify."""
    module, folder = random_network("EDSR"), tmp_path / "out"
    photos = tmp_path / "photos"
    photos.mkdir()
    from PIL import Image

    Image.fromarray(noise(96, 80, 3)).save(photos / "one.png")
    options = de.ExportOptions(
        folder,
        precisions=(Precision.FP32, Precision.FP16),
        dataset=photos,
        profile=de.ShapeProfile.parse("1x8x8,1x24x32,1x48x64"),
        max_drift=0.1,
        rewrite_memory=False,
    )
    result = de.export(module, options=options, scale=2)
    assert result.passed, result.verdicts
    assert result.drift["fp32"].unrounded_to_reference > 100
    graph = folder / "edsr-x2.fp16.onnx"
    manifest = de.read_manifest(graph)
    assert manifest.reach == result.network.reach
    assert manifest.source["kind"] == "module"
    lr = noise(40, 44, 3)
    overlap = 4 * manifest.reach["pixels"]
    with de.open_session(graph) as session, de.TiledSession(session, de.Tiling(64, 64, overlap)) as tiled:
        whole = session(lr[None])[0]
        assert np.array_equal(tiled(lr[None])[0], whole)
        large = noise(70, 90, 3)
        # as far apart as what a pixel sees: tiles change no more than the last bit of a sum
        assert np.abs(tiled(large[None])[0].astype(int) - session(large[None])[0]).max() <= 1
    report = de.measure_drift(graph, module, de.evaluation_pairs(2, photos))
    assert report.verdict(0.1).passed
    assert all(verdict.passed for verdict in de.verify([graph]))
