"""Open whatever ``export.py`` built."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from .backends import engine_backend, graph_backend
from .building.rebuild import engine_that_fits
from .engine.session import EngineSession
from .errors import DefianError
from .manifest import manifest_path, read_manifest
from .onnx_session import OnnxSession
from .verify.first_open import require_right_picture

if TYPE_CHECKING:
    from .backends import Backend
    from .interface import Session
    from .profile import Shape

LOGGER = logging.getLogger(__name__)


def open_session(
    path: Path | str, *, backend: Backend | None = None, shape: Shape | None = None, rebuild: bool = False
) -> Session:
    """The session that fits the file, as its manifest says: a TensorRT plan, a TensorRT-RTX plan, or a graph.

    The first time that an engine is opened on a GPU, one small picture of its reference pack is held against PyTorch's;
    see :mod:`defian_edge.runtime.verify.first_open`.

    Args:
        path: a ``.onnx`` or ``.engine`` file built by export.py, its manifest beside it.
        backend: how it is run: a :class:`~defian_edge.runtime.backends.GraphBackend` for a graph, an
            :class:`~defian_edge.runtime.backends.EngineBackend` for an engine.
        shape: a (batch, height, width) that will be asked for; what does not fit is told before anything is loaded.
        rebuild: an engine of another TensorRT version, for another compute capability, or whose profile does not take
            the shape, is built again from the graph beside it, as :mod:`defian_edge.runtime.building.rebuild` says.

    Raises:
        DefianError: the file has no manifest, does not fit it, this machine or its GPU; is no such file; is an
            engine that gives a wrong picture on this device; or the backend is one for the other kind of file.
    """
    path = Path(path)
    if path.is_file() and path.suffix != ".onnx" and not manifest_path(path).is_file():
        raise DefianError(
            f"{path.name}: expected a graph (.onnx) or engine (.engine) with its manifest, found no {path.name}.json.",
            "Build it with export.py, and copy both files.",
        )
    LOGGER.info("opening %s", path)
    if read_manifest(path, verify=False).engine is not None:
        options = engine_backend(path.name, backend)
        if rebuild:
            path = engine_that_fits(path, options.device, shape)
        session = EngineSession(path, options, shape)
        try:
            require_right_picture(session, path)
        except BaseException:
            session.close()
            raise
        return session
    if rebuild:
        raise DefianError(
            f"{path.name}: expected an engine, which can be built again, found a graph.",
            "Leave rebuild=True out: ONNX Runtime runs a graph. Or give the .engine file.",
        )
    return OnnxSession(path, graph_backend(path.name, backend))
