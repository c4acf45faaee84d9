"""Engines of TensorRT-RTX on this card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from export.engine.compiler import Target
from selftest.building import prove
from selftest.stages.rtx_target import fitting_target

if TYPE_CHECKING:
    from selftest.protocol import Record, Settings


def run(settings: Settings, record: Record) -> None:
    """Everything that :func:`selftest.building.prove` proves."""
    target = fitting_target(settings)
    record.figure("sm", target)
    prove(settings, record, Target.TENSORRT_RTX, target)
