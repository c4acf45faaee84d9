"""How an INT8 graph is made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from defian_edge.calibration.ranges.estimators import CLIPPING, RangeMethod
from defian_edge.export.precision.int8.sites import Scope
from defian_edge.runtime.arguments import shown
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Collection

HELPERS = {"equalise": "equalise", "channels": "channels", "side": "side", "basis": "basis"}
"""Name on the command line -> field of :class:`Recipe`."""


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
        clipping: weight of clipping against rounding in MSE ranges.
    """

    scope: Scope = Scope.CONVOLUTIONS
    method: RangeMethod = RangeMethod.MSE
    equalise: bool = True
    channels: bool = True
    side: bool = True
    basis: bool = True
    clipping: float = CLIPPING

    @classmethod
    def of(cls, scope: Scope, method: RangeMethod, without: Collection[str]) -> Recipe:
        """A recipe that leaves helpers out by their names on the command line.

        Raises:
            DefianError: a name is not that of a helper.
        """
        if unknown := [name for name in without if name not in HELPERS]:
            raise DefianError(f"No INT8 helper {shown(unknown[0])}: expected one of {', '.join(HELPERS)}.")
        return cls(scope, method, **{HELPERS[name]: False for name in without})

    @property
    def scales_channels(self) -> bool:
        """In the convolutions scope the maps cross memory as FP16, and scaling their INT8 copies gains nothing."""
        return self.channels and self.scope is Scope.FEATURES

    def described(self) -> dict[str, Any]:
        """For JSON: enums by their values."""
        return {key: getattr(value, "value", value) for key, value in asdict(self).items()}
