"""Profile and photos for networks that take one size alone; for all others they stay as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from defian_edge.calibration.photos import fitted
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.profile import DEFAULT_PROFILE, ShapeProfile

if TYPE_CHECKING:
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.export.source.base import SourceNetwork


def fitting_profile(asked: ShapeProfile, network: SourceNetwork) -> ShapeProfile:
    """The profile that was asked for; the only possible one where nothing was.

    Raises:
        DefianError: the network does not take all of it.
    """
    sizes, fixed = network.sizes, network.fixed_profile
    if fixed is not None and asked == ShapeProfile.parse(DEFAULT_PROFILE):
        return fixed
    shapes = (asked.minimum, asked.optimum, asked.maximum)
    for what, only, axis in (
        ("batch", 1 if sizes.one_image else None, 0),
        ("height", sizes.height, 1),
        ("width", sizes.width, 2),
    ):
        found = next((shape[axis] for shape in shapes if only is not None and shape[axis] != only), None)
        if found is not None:
            hint = f"Give --profile {fixed}." if fixed is not None else f"Give a profile of {what} {only}."
            raise DefianError(f"Profile {asked}: {network.name} takes {what} {only} alone, found {found}.", hint)
    return asked


def fitting_pair(pair: EvaluationPair, network: SourceNetwork) -> EvaluationPair:
    """The middle of a photo where the network takes one height or width alone; what is smaller is mirrored."""
    height, width = (only or side for only, side in zip(_only(network), pair.lr.shape[:2], strict=True))
    if (height, width) == pair.lr.shape[:2]:
        return pair
    return replace(fitted(pair, (height, width), (height, width), network.scale), name=pair.name)


def _only(network: SourceNetwork) -> tuple[int | None, int | None]:
    return network.sizes.height, network.sizes.width
