"""DeFiAN super-resolution from a PyTorch checkpoint to TensorRT engines with a measured drift: the one importable name.

In a wheel the rooms (``export``, ``runtime``, ...) lie in this folder. In a checkout they lie beside it, so the
checkout's root is put on this package's path; ``import defian_edge.runtime`` is then ``runtime/`` of the checkout.

What is named here is imported when it is first asked for: ``import defian_edge`` alone imports no other package.

``defian_edge.export`` is a function and a room. The attribute is the function, while ``from defian_edge.export import
pipeline`` finds the room all the same: Python looks modules up in ``sys.modules``, not in their parents. It makes a
module an attribute of its parent once, when it is first loaded. So the room, a docstring, is loaded before the function
takes its place, and nothing puts it back. ``import defian_edge.export as room`` gives the function.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib is slow to import
if not os.path.isdir(os.path.join(_HERE, "runtime")):  # noqa: PTH112, PTH118
    __path__.append(os.path.dirname(_HERE))  # noqa: PTH120
import_module("defian_edge.export")

from defian_edge.api import export, measure_drift, needing_extra  # noqa: E402 - found by the path above
from defian_edge.runtime import __version__  # noqa: E402

if TYPE_CHECKING:
    from defian_edge.calibration.drift.report import DriftReport
    from defian_edge.calibration.drift.verdict import DriftBudget
    from defian_edge.calibration.photos import EvaluationPair, evaluation_pairs
    from defian_edge.export.artefacts import ExportResult
    from defian_edge.export.engine.compiler import Target
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.precision import Precision
    from defian_edge.export.source.picture import PictureFormat
    from defian_edge.export.triton.options import TritonOptions
    from defian_edge.export.triton.repository import ServedModel, triton_repository
    from defian_edge.runtime.backends import EngineBackend, GraphBackend
    from defian_edge.runtime.doctor.run import doctor
    from defian_edge.runtime.errors import DefianError
    from defian_edge.runtime.interface import Session
    from defian_edge.runtime.manifest import Manifest, read_manifest
    from defian_edge.runtime.profile import ShapeProfile
    from defian_edge.runtime.session import open_session
    from defian_edge.runtime.tiles import TiledSession
    from defian_edge.runtime.tiling import Tiling
    from defian_edge.runtime.verify.budget import Budget
    from defian_edge.runtime.verify.run import verify

_HOMES = {
    "Budget": "defian_edge.runtime.verify.budget",
    "DefianError": "defian_edge.runtime.errors",
    "DriftBudget": "defian_edge.calibration.drift.verdict",
    "DriftReport": "defian_edge.calibration.drift.report",
    "EngineBackend": "defian_edge.runtime.backends",
    "EvaluationPair": "defian_edge.calibration.photos",
    "ExportOptions": "defian_edge.export.options",
    "ExportResult": "defian_edge.export.artefacts",
    "GraphBackend": "defian_edge.runtime.backends",
    "Manifest": "defian_edge.runtime.manifest",
    "PictureFormat": "defian_edge.export.source.picture",
    "Precision": "defian_edge.export.precision",
    "ServedModel": "defian_edge.export.triton.repository",
    "Session": "defian_edge.runtime.interface",
    "ShapeProfile": "defian_edge.runtime.profile",
    "Target": "defian_edge.export.engine.compiler",
    "TiledSession": "defian_edge.runtime.tiles",
    "Tiling": "defian_edge.runtime.tiling",
    "TritonOptions": "defian_edge.export.triton.options",
    "doctor": "defian_edge.runtime.doctor.run",
    "evaluation_pairs": "defian_edge.calibration.photos",
    "open_session": "defian_edge.runtime.session",
    "read_manifest": "defian_edge.runtime.manifest",
    "triton_repository": "defian_edge.export.triton.repository",
    "verify": "defian_edge.runtime.verify.run",
}
"""The module in which each public name is defined."""

__all__ = [
    "Budget",
    "DefianError",
    "DriftBudget",
    "DriftReport",
    "EngineBackend",
    "EvaluationPair",
    "ExportOptions",
    "ExportResult",
    "GraphBackend",
    "Manifest",
    "PictureFormat",
    "Precision",
    "ServedModel",
    "Session",
    "ShapeProfile",
    "Target",
    "TiledSession",
    "Tiling",
    "TritonOptions",
    "__version__",
    "doctor",
    "evaluation_pairs",
    "export",
    "measure_drift",
    "open_session",
    "read_manifest",
    "triton_repository",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with needing_extra("export", f"defian_edge.{name}"):
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
