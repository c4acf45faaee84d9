"""Engines of TensorRT on this card, where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from defian_edge.export.engine.compiler import Target, import_tensorrt
from defian_edge.selftest.building import prove
from defian_edge.selftest.gpu import open_gpu

if TYPE_CHECKING:
    from defian_edge.selftest.protocol import Record, Settings


def run(settings: Settings, record: Record) -> None:
    """Everything that :func:`defian_edge.selftest.building.prove` proves."""
    record.figure("tensorrt", import_tensorrt(Target.TENSORRT).__version__)
    with open_gpu():
        pass
    prove(settings, record, Target.TENSORRT, None)
