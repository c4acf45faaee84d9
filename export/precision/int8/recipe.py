"""How an INT8 graph is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.calibration.ranges.estimators import CLIPPING, DRAWN, RangeMethod
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.runtime.arguments import shown
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Collection

HELPERS = ("equalise", "channels", "side", "basis", "residue", "alternate")
"""Fields of :class:`Recipe` that can be switched off, by which they are called on the command line."""


@dataclass(frozen=True)
class Recipe:
    """How an INT8 graph is made; every helper can be switched off. docs/quantisation.md measures each.

    Attributes:
        scope: convolutions, or every feature map as well.
        method: range estimator.
        equalise: scale the channels inside the residual blocks to one range.
        channels: in the features scope, scale the channels of every other feature map to one range as well.
        side: take what the image predicts out of the sum in front of the upscaling, into FP16 side channels.
        basis: change the basis of that sum.
        residue: read the maps in front of the picture as two INT8 terms.
        alternate: in the features scope, leave every other map of the residual streams FP16.
        clipping: weight of clipping against rounding in MSE and robust ranges.
        drawn: weight of what drawn pictures lose by clipping in robust ranges, for a network that enlarges twice.
    """

    scope: Scope = Scope.CONVOLUTIONS
    method: RangeMethod = RangeMethod.ROBUST
    equalise: bool = True
    channels: bool = True
    side: bool = True
    basis: bool = True
    residue: bool = True
    alternate: bool = True
    clipping: float = CLIPPING
    drawn: float = DRAWN

    @classmethod
    def of(cls, scope: Scope, method: RangeMethod, without: Collection[str]) -> Recipe:
        """A recipe that leaves helpers out by their names on the command line.

        Raises:
            DefianError: a name is not that of a helper.
        """
        if unknown := [name for name in without if name not in HELPERS]:
            raise DefianError(f"No INT8 helper {shown(unknown[0])}: expected one of {', '.join(HELPERS)}.")
        return cls(scope, method, **dict.fromkeys(without, False))

    @property
    def scales_channels(self) -> bool:
        """In the convolutions scope the maps cross memory as FP16, and scaling their INT8 copies gains nothing."""
        return self.channels and self.scope is Scope.FEATURES

    @property
    def alternates(self) -> bool:
        """In the convolutions scope the maps of the streams are FP16 anyway."""
        return self.alternate and self.scope is Scope.FEATURES

    def described(self) -> dict[str, Any]:
        """For JSON: enums by their values."""
        return {key: getattr(value, "value", value) for key, value in asdict(self).items()}
