"""How an engine is run."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DefianError

CHECKS = ("once", "always", "never")


@dataclass(frozen=True)
class RunOptions:
    """How an engine is run.

    Attributes:
        cuda_graphs: capture each shape's work after a warm-up; where that cannot be done ``describe()`` says why.
        shapes: shapes whose memory and graphs are kept; a further one takes the place of the one used longest ago.
        in_flight: frames that ``upscale_frames`` has under way at once.
        kernel_cache: keep the kernels that TensorRT-RTX compiles on this device, so that it compiles them once.
        device: ordinal of the GPU.
        check: whether ``open_session`` holds the engine against a picture of its reference pack before it gives it out:
            ``once`` on a device, ``always`` or ``never``; see :mod:`defian_edge.runtime.verify.first_open`.

    Raises:
        DefianError: fewer than one shape or frame, a negative ordinal, or another word for ``check``.
    """

    cuda_graphs: bool = True
    shapes: int = 4
    in_flight: int = 3
    kernel_cache: bool = True
    device: int = 0
    check: str = "once"

    def __post_init__(self) -> None:
        if self.check not in CHECKS:
            raise DefianError(f"Expected check as one of {', '.join(CHECKS)}, found {self.check!r}.")
        if min(self.shapes, self.in_flight) < 1 or self.device < 0:
            raise DefianError(f"Expected at least 1 shape and 1 frame in flight on GPU 0 or a later one, found {self}.")
