"""DeFiAN super-resolution from a PyTorch checkpoint to TensorRT engines with a measured drift: the one importable name.

In a wheel the rooms (``export``, ``runtime``, ...) lie in this folder. In a checkout they lie beside it, so the
checkout's root is put on this package's path; ``import defian_edge.export`` is then ``export/`` of the checkout.

What is named here is imported when it is first asked for: ``import defian_edge`` alone imports no other package.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib is slow to import
if not os.path.isdir(os.path.join(_HERE, "runtime")):  # noqa: PTH112, PTH118
    __path__.append(os.path.dirname(_HERE))  # noqa: PTH120

from defian_edge.runtime import __version__  # noqa: E402 - found by the path above

if TYPE_CHECKING:
    from defian_edge.runtime.engine.session import EngineBackend
    from defian_edge.runtime.errors import DefianError
    from defian_edge.runtime.interface import Session
    from defian_edge.runtime.manifest import Manifest, read_manifest
    from defian_edge.runtime.session import open_session
    from defian_edge.runtime.verify.budget import Budget
    from defian_edge.runtime.verify.run import verify

_HOMES = {
    "Budget": "verify.budget",
    "DefianError": "errors",
    "Manifest": "manifest",
    "EngineBackend": "engine.session",
    "Session": "interface",
    "open_session": "session",
    "read_manifest": "manifest",
    "verify": "verify.run",
}
"""The module of ``defian_edge.runtime`` in which each public name is defined."""

__all__ = [
    "Budget",
    "DefianError",
    "EngineBackend",
    "Manifest",
    "Session",
    "__version__",
    "open_session",
    "read_manifest",
    "verify",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"defian_edge.runtime.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
