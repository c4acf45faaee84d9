"""DeFiAN's INT8 sites by structure are those that its names give; other networks' are where their blocks are."""

from __future__ import annotations

import re

import pytest

from defian_edge.export.graph import array_of, copy_of, nodes_of_type, only_consumer, producer_of
from defian_edge.export.precision.int8.maps import rescaled
from defian_edge.export.precision.int8.sites import (
    ConvolutionSite,
    FeatureSite,
    Scope,
    Sites,
    block_sum,
    find_sites,
)
from defian_edge.export.rewrites import PORTABLE, Use, apply_rewrites, select
from defian_edge.models.bundled import bundled_models
from defian_edge.models.checkpoint import load_checkpoint
from tests.conftest import random_checkpoint, tiny

BLOCK = re.compile(r"^(body\.\d+\.body_block\.\d+)\.block\.([02])$")
ATTENTION = re.compile(r"^(body\.\d+\.coder)\.\d+\.(?:encoder|decoder)\.\d+$")
UPSCALE = re.compile(r"^(?:upscale(?:\.\d+)*|output)$")


def by_name(model):
    """DeFiAN's sites, found by the names of its weights alone."""
    nodes = {node.name: node for node in nodes_of_type(model.graph, "Conv") if node.name}
    convolutions = [
        ConvolutionSite(name, node.inputs[0].name, group)  # type: ignore[union-attr,arg-type]
        for name, node in nodes.items()
        if (group := group_by_name(name, node))
    ]
    features = {site.tensor: site for site in features_by_name(nodes)}
    return Sites(tuple(convolutions), tuple(features.values()))


def group_by_name(name, node):
    weight = array_of(node.inputs[1])
    if weight is None:
        return ""
    if block := BLOCK.match(name):
        return block[1]
    if attention := ATTENTION.match(name):
        return attention[1] if min(weight.shape[:2]) >= 12 else ""
    return "tail" if name == "tail" else "upscale" if UPSCALE.match(name) else ""


def features_by_name(nodes):
    for name, node in nodes.items():
        block, source = BLOCK.match(name), node.inputs[0]
        if block is None:
            if name == "tail" or (UPSCALE.match(name) and reads_features(node, nodes)):
                yield FeatureSite(source.name, "tail" if name == "tail" else "upscale")
            continue
        stream = f"{block[1].split('.body_block', maxsplit=1)[0]}.stream"
        if block[2] == "0":
            yield FeatureSite(source.name, stream)
            continue
        yield FeatureSite(source.name, block[1])
        result = node.outputs[0]
        if array_of(node.inputs[1]) is None:
            addition = only_consumer(result, "Add")
            assert addition is not None
            yield FeatureSite(addition.outputs[0].name or "", stream)
            continue
        found = block_sum(result)
        assert found is not None
        yield FeatureSite(result.name, block[1])
        yield FeatureSite(rescaled(found.total).name or "", stream)


def reads_features(node, nodes):
    source = node.inputs[0]
    addition = producer_of(source, "Add")
    return addition is not None and any(value is nodes["tail"].outputs[0] for value in addition.inputs)


NETWORKS = {
    "S x2": lambda: load_checkpoint(bundled_models()["defian-s-x2"]),
    "S x4": lambda: load_checkpoint(bundled_models()["defian-s-x4"]),
    "tiny x3": lambda: random_checkpoint(tiny(3)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_defians_sites_by_structure_are_those_by_name(traced, name):
    model = traced(NETWORKS[name]())
    graphs = {"plain": copy_of(model)}
    apply_rewrites(model)
    graphs["portable"] = copy_of(model)
    apply_rewrites(model, [rewrite for rewrite in select(use=Use.ENGINE) if rewrite not in PORTABLE])
    graphs["engine"] = model
    for kind, graph in graphs.items():
        expected, found = by_name(graph), find_sites(graph, Scope.FEATURES)
        assert found.convolutions == expected.convolutions, kind
        assert found.features == expected.features, kind
        assert find_sites(graph, Scope.CONVOLUTIONS) == Sites(expected.convolutions, ()), kind
