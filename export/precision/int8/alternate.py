"""Every other map of a residual stream stays FP16 in the features scope: rounding every one costs far more than twice.

A block adds little to what it takes in, often less than a step of INT8. Where each sum is rounded again, what blocks
add to the same pixels is lost again and again, to the same side: the errors of a stream add up, and do not average
out. Behind two blocks at once there is more to round, and half as often. The first and the last map of a stream are
read beyond it, by the next module or by attention, and stay FP16 as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.precision.int8.sites import is_stream

if TYPE_CHECKING:
    from defian_edge.export.precision.int8.sites import Sites


def left_fp16(sites: Sites) -> frozenset[str]:
    """Names of the maps of the residual streams that stay FP16: the first, then every second, and the last.

    Args:
        sites: of a graph's features scope, in the order of the graph.
    """
    streams: dict[str, list[str]] = {}
    for site in sites.features:
        if is_stream(site.group):
            streams.setdefault(site.group, []).append(site.tensor)
    return frozenset(name for maps in streams.values() for name in (*maps[::2], maps[-1]))
