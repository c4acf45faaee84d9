"""FP32 graph and calibration patches -> INT8 graph: measure, equalise, choose ranges, round, insert Q/DQ."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from calibration import cache
from calibration.histogram import Histogram
from calibration.observers import ChannelMaxima, JointMoment, WindowMoment, observe
from calibration.ranges import RangeMethod, range_of
from export.emit import array_of, nodes_of_type
from export.precision import Precision
from export.precision.equalisation import equalisable, equalise_blocks
from export.precision.int8 import QuantisationPlan, insert_qdq
from export.precision.linear_sum import WINDOW, LinearSum
from export.precision.rounding import round_for_result, round_to_nearest
from export.precision.sites import TAIL, Scope, Sites, find_sites
from export.variants import Variant, copy_of, make_half, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from calibration.photos import CalibrationSet

DECISIVE = frozenset({TAIL, "upscale"})
"""Groups whose weights are worth second-order rounding: every value passes them last."""


@dataclass(frozen=True)
class Recipe:
    """How an INT8 graph is made; every helper can be switched off. docs/quantisation.md measures each.

    Attributes:
        scope: convolutions, or every feature map as well.
        method: range estimator.
        equalise: scale the channels inside the residual blocks to one range.
        side: take what the image predicts out of the sum in front of the upscaling, into FP16 side channels.
        basis: change the basis of that sum.
        second_order: round the weights of tail and upscale for the least error of their result.
    """

    scope: Scope = Scope.CONVOLUTIONS
    method: RangeMethod = RangeMethod.PERCENTILE
    equalise: bool = True
    side: bool = True
    basis: bool = True
    second_order: bool = True

    def described(self) -> dict[str, Any]:
        """For JSON: enums by their values."""
        return {key: getattr(value, "value", value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Calibrated:
    """A FP32 graph, equalised, and everything that any choice of its INT8 sites needs.

    Attributes:
        model: the FP32 graph; computes what it computed before.
        sites: all sites of the recipe's scope.
        plan: ranges and integer weights of all sites.
        record: for the manifest: method, photos, hashes, whether the cache was hit.
    """

    model: ir.Model
    sites: Sites
    plan: QuantisationPlan
    record: dict[str, Any]

    def variant(self, sites: Sites | None = None) -> Variant:
        """The INT8 graph with some of the sites, by default all."""
        chosen = replace(self.plan, sites=self.sites if sites is None else sites)
        model = make_half(self.model)
        count = insert_qdq(model, chosen)
        settle(model)
        record = {**self.record, "convolutions": count, "feature_maps": len(chosen.sites.features)}
        return Variant(Precision.INT8, model, record)


def calibrate(
    rewritten: ir.Model, patches: CalibrationSet, recipe: Recipe, say: Callable[[str], None] = lambda _: None
) -> Calibrated:
    """Measure a FP32 graph with uint8 I/O on calibration patches and prepare its quantisation.

    Args:
        rewritten: the graph; it is not changed.
        patches: what to run through it.
        recipe: what to do.
        say: told what is being done, and whether the measurements came from the cache.
    """
    data = patches.sha256()
    graph = hashlib.sha256(ir.to_proto(rewritten).SerializeToString(deterministic=True)).hexdigest()
    options = {key: value for key, value in recipe.described().items() if key != "method"}
    key = cache.cache_key(graph=graph, data=data, **options)
    arrays = cache.load(key)
    found = arrays is not None
    say(f"calibration: cache {'hit' if found else 'miss'} {key[:12]}")
    if arrays is None:
        arrays = dict(_measured(rewritten, patches, recipe))
        cache.store(key, arrays)
    model = copy_of(rewritten)
    _equalised(model, arrays, recipe)
    sites = find_sites(model, recipe.scope)
    limits = {name: range_of(_histogram(arrays, name), recipe.method) for name in sites.tensors}
    record = {
        **recipe.described(),
        "photos": len(patches.photos),
        "patches": patches.patches,
        "patch_size": patches.size,
        "seed": patches.seed,
        "data_sha256": data,
        "graph_sha256": graph,
        "cache": "hit" if found else "miss",
    }
    return Calibrated(model, sites, QuantisationPlan(sites, limits, _weights(model, sites, arrays)), record)


def _measured(rewritten: ir.Model, patches: CalibrationSet, recipe: Recipe) -> Iterator[tuple[str, np.ndarray]]:
    """Two passes: what equalising needs, then the ranges of the equalised graph. Named arrays for the cache."""
    model = copy_of(rewritten)
    maxima = {}
    if recipe.equalise:
        maxima = {name: ChannelMaxima(_channels(pair[1])) for name, pair in equalisable(model).items()}
    observers: list[tuple[list[str], Any]] = [([name], observer) for name, observer in maxima.items()]
    linear = LinearSum(model)
    joint = None
    if linear.found and (recipe.side or recipe.basis):
        joint = JointMoment(_channels(linear.shallow), WINDOW, linear.gram)
        observers.append(([linear.image, linear.tensor], joint))
    if observers:
        observe(model, observers, patches)
    first = {f"maxima/{name}": observer.maxima for name, observer in maxima.items()}
    if joint is not None:
        first["moment"] = joint.moment
    yield from first.items()
    _equalised(model, first, recipe)
    yield from _ranges(model, patches, recipe)


def _ranges(model: ir.Model, patches: CalibrationSet, recipe: Recipe) -> Iterator[tuple[str, np.ndarray]]:
    sites = find_sites(model, recipe.scope)
    histograms = {name: Histogram() for name in sites.tensors}
    windows: dict[str, WindowMoment] = {}
    observers: list[tuple[list[str], Any]] = [([name], histogram) for name, histogram in histograms.items()]
    if recipe.second_order:
        nodes = {node.name: node for node in nodes_of_type(model.graph, "Conv")}
        for site in sites.convolutions:
            weight = array_of(nodes[site.node].inputs[1])
            if weight is not None and site.group in DECISIVE:
                windows[site.node] = WindowMoment(weight.shape[1], weight.shape[2])
                observers.append(([site.tensor], windows[site.node]))
    observe(model, observers, patches)
    for name, histogram in histograms.items():
        yield f"counts/{name}", histogram.counts
        yield f"range/{name}", np.asarray([histogram.exponent, histogram.largest])
    yield from ((f"windows/{name}", window.moment) for name, window in windows.items())


def _equalised(model: ir.Model, arrays: Mapping[str, np.ndarray], recipe: Recipe) -> None:
    if recipe.equalise:
        prefix = "maxima/"
        equalise_blocks(model, {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)})
    if "moment" in arrays and np.any(arrays["moment"]):
        LinearSum(model).improve(arrays["moment"], side=recipe.side, basis=recipe.basis)
    settle(model)


def _channels(node: ir.Node) -> int:
    weight = array_of(node.inputs[1])
    return 0 if weight is None else weight.shape[1]


def _histogram(arrays: Mapping[str, np.ndarray], name: str) -> Histogram:
    exponent, largest = arrays[f"range/{name}"]
    return Histogram(int(exponent), arrays[f"counts/{name}"], float(largest))


def _weights(
    model: ir.Model, sites: Sites, arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    nodes = {node.name: node for node in nodes_of_type(model.graph, "Conv")}
    rounded = {}
    for site in sites.convolutions:
        weight = array_of(nodes[site.node].inputs[1])
        if weight is None:
            continue
        moment = arrays.get(f"windows/{site.node}")
        rounded[site.node] = round_to_nearest(weight) if moment is None else round_for_result(weight, moment)
    return rounded
