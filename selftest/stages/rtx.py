"""Engines of TensorRT-RTX on this card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.engine.compiler import Target
from defian_edge.selftest.building import prove
from defian_edge.selftest.stages.rtx_target import fitting_target

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings


def run(settings: Settings, record: Record) -> None:
    """Everything that :func:`defian_edge.selftest.building.prove` proves."""
    target = fitting_target(settings)
    record.figure("sm", target)
    prove(settings, record, Target.TENSORRT_RTX, target)
