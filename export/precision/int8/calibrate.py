"""FP32 graph and calibration patches -> INT8 graph: measure, equalise, choose ranges, round, insert Q/DQ."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from defian_edge.calibration.ranges import cache
from defian_edge.calibration.ranges.estimators import RangeMethod, drawn_weight, range_of
from defian_edge.export.graph import array_of, copy_of, settle
from defian_edge.export.precision import Precision
from defian_edge.export.precision.fp16 import NOTHING
from defian_edge.export.precision.int8.alternate import left_fp16
from defian_edge.export.precision.int8.groups import named
from defian_edge.export.precision.int8.measure import doubt_about, equalise, helped, measured, statistics_of
from defian_edge.export.precision.int8.qdq import QuantisationPlan, insert_qdq
from defian_edge.export.precision.int8.residue import REACH, read_in_two_terms
from defian_edge.export.precision.int8.rounding import round_to_nearest
from defian_edge.export.precision.int8.sites import Scope, Sites, find_sites, is_stream
from defian_edge.export.precision.int8.structure import AXES, Structure
from defian_edge.export.precision.variants import Variant, make_fp16
from defian_edge.runtime.onnx_runtime import import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import numpy as np

    from defian_edge.calibration.photos import CalibrationSet
    from defian_edge.calibration.ranges.fp16_range import BeyondFp16
    from defian_edge.export.precision.int8.recipe import Recipe

LOGGER = logging.getLogger(__name__)

STREAM_ROUNDINGS = 2.0
"""Weight of rounding against clipping in a residual stream, which every block rounds again (docs/quantisation.md)."""

CHOSEN_AFTERWARDS = ("method", "clipping", "drawn")
"""What of a recipe changes no measurement: ranges are chosen from histograms that are at hand."""


@dataclass(frozen=True)
class Calibrated:
    """A FP32 graph, equalised, and everything that any choice of its INT8 sites needs.

    Attributes:
        model: the FP32 graph; computes what it computed before.
        sites: all sites of the recipe's scope that are FP16 in the typed graph.
        plan: ranges and integer weights of all sites of the scope.
        record: for the manifest: method, photos, hashes, whether the cache was hit.
        beyond: what leaves FP16's range and stays FP32.
    """

    model: ir.Model
    sites: Sites
    plan: QuantisationPlan
    record: dict[str, Any]
    beyond: BeyondFp16 = NOTHING

    def variant(self, sites: Sites | None = None) -> Variant:
        """The INT8 graph with some of the sites, by default all."""
        model = make_fp16(self.model, self.beyond)
        chosen = replace(self.plan, sites=self.sites if sites is None else sites)
        count = insert_qdq(model, chosen)
        settle(model)
        record = {**self.record, "convolutions": count, "feature_maps": len(chosen.sites.features)}
        return Variant(Precision.INT8, model, record, self.beyond)

    def keeping_wide(self, beyond: BeyondFp16) -> Calibrated:
        """The same, with what FP16 cannot hold FP32, and without the sites that then are not FP16."""
        graph = make_fp16(self.model, beyond).graph
        half = {value.name for node in graph for value in node.outputs if value.dtype == ir.DataType.FLOAT16}
        reads = {node.name: node.inputs[0].name for node in graph if node.op_type in AXES and node.inputs[0]}
        convolutions = (
            site for site in self.sites.convolutions if site.tensor in half and reads[site.node] == site.tensor
        )
        features = (site for site in self.sites.features if site.tensor in half)
        return replace(self, sites=Sites(tuple(convolutions), tuple(features)), beyond=beyond)


def calibrate(
    rewritten: ir.Model,
    patches: CalibrationSet,
    recipe: Recipe,
    say: Callable[[str], None] = lambda _: None,
    features: Sites | None = None,
) -> Calibrated:
    """Measure a FP32 graph with uint8 I/O on calibration patches and prepare its quantisation.

    Args:
        rewritten: the graph; it is not changed.
        patches: what to run through it.
        recipe: what to do.
        say: told what is being done, and whether the measurements came from the cache.
        features: the graph's sites of the features scope, if they are known already.
    """
    rewritten = named(rewritten)
    features = features or find_sites(rewritten, Scope.FEATURES)
    two_terms = read_in_two_terms(rewritten, features) if recipe.residue else frozenset()
    alternate = left_fp16(features) if recipe.alternates else frozenset()
    chosen = features.without_maps(
        alternate | {site.tensor for site in features.convolutions if site.node in two_terms}
    )
    data = patches.sha256()
    graph = hashlib.sha256(ir.to_proto(rewritten).SerializeToString(deterministic=True)).hexdigest()
    options = {key: value for key, value in recipe.described().items() if key not in CHOSEN_AFTERWARDS}
    key = cache.cache_key(_sources(), graph=graph, data=data, onnxruntime=import_onnxruntime().__version__, **options)
    arrays = cache.load(key)
    if arrays is not None and (why := doubt_about(arrays, rewritten, recipe, chosen)):
        arrays = cache.disbelieved(key, why)
    found = arrays is not None
    say(f"calibration: cache {'hit' if found else 'miss'} {key[:12]}")
    if arrays is None:
        arrays = dict(measured(rewritten, patches, recipe, chosen))
        cache.store(key, arrays)
    model = copy_of(rewritten)
    sites = equalise(model, arrays, recipe, chosen)
    drawn = drawn_weight(recipe.drawn, patches.scale)
    limits = _limits(arrays, sites, recipe, two_terms, drawn)
    record = {
        **recipe.described(),
        "drawn_weight": drawn,
        "photos": len(patches.photos),
        "patches": patches.patches,
        "patch_size": patches.size if patches.only == (None, None) else list(patches.patch),
        "seed": patches.seed,
        "data_sha256": data,
        "graph_sha256": graph,
        "cache": "hit" if found else "miss",
        "helped": helped(rewritten, recipe, chosen) | _told(recipe, two_terms, alternate),
        "left_out": dict(Counter(Structure(rewritten.graph).left_out.values())),
    }
    calibrated = Calibrated(model, sites, QuantisationPlan(sites, limits, _weights(model, sites), two_terms), record)
    return calibrated.keeping_wide(NOTHING)


def _limits(
    arrays: Mapping[str, np.ndarray], sites: Sites, recipe: Recipe, two_terms: Collection[str], drawn: float
) -> dict[str, float]:
    """Tensor -> largest magnitude that its INT8 form represents."""
    streams = {site.tensor for site in sites.features if is_stream(site.group)}
    far = {site.tensor for site in sites.convolutions if site.node in two_terms}
    limits = {}
    for name in sites.tensors:
        histogram, clipped = statistics_of(arrays, name)
        if name in far:
            limits[name] = REACH * range_of(histogram, RangeMethod.MINMAX)
        else:
            roundings = STREAM_ROUNDINGS if name in streams else 1.0
            limits[name] = range_of(histogram, recipe.method, roundings, recipe.clipping, clipped, drawn)
        LOGGER.debug("%s: INT8 up to %g", name, limits[name])
    return limits


def _told(recipe: Recipe, two_terms: Collection[str], alternate: Collection[str]) -> dict[str, str | int]:
    """As ``helped`` does, of the helpers that choose among the sites."""
    told: dict[str, str | int] = {}
    if recipe.residue:
        told["residue"] = len(two_terms) or "nothing cheap is that near the picture"
    if recipe.alternates:
        told["alternate"] = len(alternate) or "no block hands on a residual stream"
    return told


def _sources() -> list[Path]:
    """The source files that decide what is measured."""
    precision, calibration = Path(__file__).parent.parent, Path(cache.__file__).parent.parent
    return sorted({precision.parent / "graph.py", *precision.rglob("*.py"), *calibration.rglob("*.py")})


def _weights(model: ir.Model, sites: Sites) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    nodes = {node.name: node for node in model.graph if node.op_type in AXES}
    weights = {site.node: array_of(nodes[site.node].inputs[1]) for site in sites.convolutions}
    return {
        name: round_to_nearest(weight, AXES[nodes[name].op_type])
        for name, weight in weights.items()
        if weight is not None
    }
