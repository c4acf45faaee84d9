"""What quantising a FP32 graph needs to know, measured on calibration patches as named arrays that a cache can keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.calibration.drawn import drawn_patches
from defian_edge.calibration.ranges.estimators import LIMITS, Clipped
from defian_edge.calibration.ranges.histogram import BINS, Histogram
from defian_edge.calibration.ranges.observers import ChannelMaxima, JointMoment, Magnitudes, observe
from defian_edge.export.graph import array_of, copy_of, settle
from defian_edge.export.precision.int8.channel_scaling import scalable, scale_channels
from defian_edge.export.precision.int8.equalisation import equalisable, equalise_blocks
from defian_edge.export.precision.int8.sites import Sites, find_sites, origin_of
from defian_edge.export.precision.int8.upscale_basis import WINDOW, LinearSum

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx_ir as ir

    from defian_edge.calibration.photos import CalibrationSet
    from defian_edge.export.precision.int8.recipe import Recipe

OTHER_NAMES = "it holds other arrays than this graph has"
MOST_EXPONENT = 128
"""Of two, for what FP32 holds."""


def measured(
    rewritten: ir.Model, patches: CalibrationSet, recipe: Recipe, sites: Sites
) -> Iterator[tuple[str, np.ndarray]]:
    """Two passes over the patches: what equalising needs, then the equalised graph's ranges.

    Args:
        rewritten: FP32 graph with uint8 I/O; it is not changed.
        patches: what to run through it.
        recipe: which helpers will be used.
        sites: of the graph's features scope, but for maps that are to stay FP16.

    Yields:
        ``maxima/<tensor>`` [C], ``moment``, ``counts/<tensor>`` [BINS] with ``range/<tensor>`` (exponent, largest
        magnitude in photos, and in drawn pictures), ``clipped/<tensor>`` [2, K] (of the photo that each limit clips
        most, and of drawn pictures on average).
    """
    model = copy_of(rewritten)
    maxima, joint, linear = _first(model, recipe, sites)
    observers: list[tuple[list[str], Any]] = [([name], observer) for name, observer in maxima.items()]
    if joint is not None:
        observers.append(([linear.image, linear.tensor], joint))
    if observers:
        observe(model, observers, patches)
    first = {f"maxima/{name}": observer.maxima for name, observer in maxima.items()}
    if joint is not None:
        first["moment"] = joint.moment
    yield from first.items()
    yield from _ranges(model, patches, equalise(model, first, recipe, sites))


def _first(
    model: ir.Model, recipe: Recipe, sites: Sites
) -> tuple[dict[str, ChannelMaxima], JointMoment | None, LinearSum]:
    """Who sees the first pass, by the tensors' names; and what the moment is of."""
    maxima = {}
    if recipe.equalise:
        maxima = {name: ChannelMaxima(_channels(pair[1])) for name, pair in equalisable(model).items()}
    if recipe.scales_channels:
        maxima |= {name: ChannelMaxima(count) for name, count in scalable(model, sites).items()}
    linear = LinearSum(model)
    joint = None
    if linear.found and (recipe.side or recipe.basis):
        joint = JointMoment(_channels(linear.shallow), WINDOW, linear.gram)
    return maxima, joint, linear


def doubt_about(arrays: Mapping[str, np.ndarray], rewritten: ir.Model, recipe: Recipe, sites: Sites) -> str:
    """Why arrays from a cache cannot be what :func:`measured` gives of a graph; empty if they can.

    A name too few or too many would leave a helper out without a word, and so make another graph.
    """
    model = copy_of(rewritten)
    maxima, joint, _ = _first(model, recipe, sites)
    shapes: dict[str, tuple[int, ...]] = {f"maxima/{name}": each.maxima.shape for name, each in maxima.items()}
    if joint is not None:
        shapes["moment"] = joint.moment.shape
    if not _have(arrays, shapes):
        return OTHER_NAMES
    for name in equalise(model, arrays, recipe, sites).tensors:
        shapes |= {f"counts/{name}": (BINS,), f"range/{name}": (3,), f"clipped/{name}": (2, len(LIMITS))}
    if not _have(arrays, shapes) or len(arrays) != len(shapes):
        return OTHER_NAMES
    counted = all(arrays[name].dtype.kind == "i" for name in shapes if name.startswith("counts/"))
    exponents = [array[0] for name, array in arrays.items() if name.startswith("range/")]
    magnitudes = (
        array[1:] if name.startswith("range/") else array for name, array in arrays.items() if name != "moment"
    )
    if (
        not counted
        or any(abs(each) > MOST_EXPONENT for each in exponents)
        or any((each < 0).any() for each in magnitudes)
    ):
        return "it holds what was never measured"
    return ""


def _have(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return all(
        name in arrays and arrays[name].shape == shape and arrays[name].dtype.kind in "if"
        for name, shape in shapes.items()
    )


def _ranges(model: ir.Model, patches: CalibrationSet, sites: Sites) -> Iterator[tuple[str, np.ndarray]]:
    if not sites.tensors:
        return
    photos, drawn = ({name: Magnitudes() for name in sites.tensors} for _ in range(2))
    for seen, pictures in ((photos, patches), (drawn, drawn_patches(patches.scale, *patches.patch))):
        observers: list[tuple[list[str], Any]] = [([name], magnitudes) for name, magnitudes in seen.items()]
        observe(model, observers, pictures)
    for name in sites.tensors:
        histogram = photos[name].histogram
        yield f"counts/{name}", histogram.counts
        yield f"range/{name}", np.asarray([histogram.exponent, histogram.largest, drawn[name].histogram.largest])
        yield f"clipped/{name}", np.stack([photos[name].worst, drawn[name].mean])


def statistics_of(arrays: Mapping[str, np.ndarray], name: str) -> tuple[Histogram, Clipped]:
    """What :func:`measured` found of one tensor."""
    exponent, largest, drawn = arrays[f"range/{name}"]
    histogram = Histogram(int(exponent), arrays[f"counts/{name}"], float(largest))
    worst, mean = arrays[f"clipped/{name}"]
    return histogram, Clipped(worst, mean, float(max(largest, drawn)))


def equalise(model: ir.Model, arrays: Mapping[str, np.ndarray], recipe: Recipe, sites: Sites) -> Sites:
    """Change the graph in place, without changing what it computes, by the helpers of the recipe.

    Args:
        model: FP32 graph.
        arrays: what :func:`measured` gave of it.
        recipe: which helpers are used.
        sites: of the features scope of the graph as it comes, but for maps that are to stay FP16.

    Returns:
        The sites of the recipe's scope in the graph as it is then, with the same maps.
    """
    maxima = {key.removeprefix("maxima/"): array for key, array in arrays.items() if key.startswith("maxima/")}
    if recipe.equalise:
        equalise_blocks(model, maxima)
    if recipe.scales_channels:
        scale_channels(model, {name: maxima[name] for name in scalable(model, sites)}, sites)
    if "moment" in arrays and np.any(arrays["moment"]):
        LinearSum(model).improve(arrays["moment"], side=recipe.side, basis=recipe.basis)
    settle(model)
    found = find_sites(model, recipe.scope)
    wanted = {site.tensor for site in sites.features}
    return found.without_maps({site.tensor for site in found.features if origin_of(site.tensor) not in wanted})


def helped(model: ir.Model, recipe: Recipe, sites: Sites) -> dict[str, str | int]:
    """Exact helper that the recipe uses -> in how many places its algebra holds in the FP32 graph, or why in none.

    Args:
        model: the graph, without any helper in it.
        recipe: which helpers are used.
        sites: of the graph's features scope.
    """
    found: dict[str, str | int] = {}
    if recipe.equalise:
        found["equalise"] = len(equalisable(model)) or "no activation that lets factors pass between two convolutions"
    if recipe.scales_channels:
        found["channels"] = len(scalable(model, sites)) or "no feature map of known channels"
    linear: str | int = 1
    if not LinearSum(model).found:
        linear = "the last sum is not that of two convolutions, one of the image, read by convolutions alone"
    return found | {name: linear for name in ("side", "basis") if getattr(recipe, name)}


def _channels(node: ir.Node) -> int:
    weight = array_of(node.inputs[1])
    return 0 if weight is None else weight.shape[1]
