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

HELPERS = {"equalise": "equalise", "channels": "channels", "side": "side", "basis": "basis", "residue": "residue"}
"""Name on the command line -> field of :class:`Recipe`."""

DRAWN_FEATURES = 0.001
"""As :data:`~defian_edge.calibration.ranges.estimators.DRAWN`, in the features scope."""


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
        residue: in the convolutions scope, read the maps in front of the picture as two INT8 terms.
        clipping: weight of clipping against rounding in MSE and robust ranges.
        drawn: weight of what drawn pictures lose by clipping in robust ranges; None for the scope's own.
    """

    scope: Scope = Scope.CONVOLUTIONS
    method: RangeMethod = RangeMethod.ROBUST
    equalise: bool = True
    channels: bool = True
    side: bool = True
    basis: bool = True
    residue: bool = True
    clipping: float = CLIPPING
    drawn: float | None = None

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

    @property
    def two_terms(self) -> bool:
        """In the features scope the maps cross memory as one INT8 term, and there is no other to read."""
        return self.residue and self.scope is Scope.CONVOLUTIONS

    @property
    def drawn_weight(self) -> float:
        """Where every map is rounded, a range that reaches far costs more."""
        return self.drawn if self.drawn is not None else DRAWN if self.scope is Scope.CONVOLUTIONS else DRAWN_FEATURES

    def described(self) -> dict[str, Any]:
        """For JSON: enums by their values."""
        return {key: getattr(value, "value", value) for key, value in asdict(self).items()}
