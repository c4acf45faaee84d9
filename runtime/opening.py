"""The session that a command line wants: the file, what runs it, and the tiles into which images are cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backends import Backend, EngineBackend, GraphBackend
from .errors import DefianError
from .manifest import read_manifest
from .session import open_session
from .tiles import TiledSession, in_tiles_where_needed
from .tiling import DEFAULT_OVERLAP, Tiling

if TYPE_CHECKING:
    from pathlib import Path

    from .interface import Session
    from .profile import Shape

AUTO, OFF = "auto", "off"


@dataclass(frozen=True)
class Opening:
    """How a session is opened; it can be sent to another machine and be opened there.

    Attributes:
        engine: a ``.onnx`` or ``.engine`` file, its manifest beside it.
        provider: ``cpu``, ``cuda`` or ``tensorrt``, for a graph; None if nothing was said.
        tile: ``auto``, ``off`` or a size such as ``192x192``.
        overlap: LR pixels that neighbouring tiles share.
        cuda_graphs: False if an engine is to run eagerly.
        check: when an engine is held against a picture of PyTorch's; None if nothing was said.
        threads: of the CPU, for a graph; 0 for ONNX Runtime's choice.
        rebuild: an engine of another TensorRT version, for another compute capability, or whose profile does not take
            what it is to be given first, is built again here.
        first: height and width of the first image, for ``rebuild``; None if they are not known.
    """

    engine: Path
    provider: str | None = None
    tile: str = AUTO
    overlap: int = DEFAULT_OVERLAP
    cuda_graphs: bool = True
    check: str | None = None
    threads: int = 0
    rebuild: bool = False
    first: tuple[int, int] | None = None

    def open(self) -> Session:
        """The session.

        Raises:
            DefianError: an option does not apply to the file, or the file does not fit this machine.
        """
        sizes = "auto, off, or a size such as 192x192"
        tiling = None if self.tile in {AUTO, OFF} else Tiling.parse(self.tile, self.overlap, sizes)
        backend = self.backend()
        shape = self._first_shape(tiling) if self.rebuild else None
        session = open_session(self.engine, backend=backend, shape=shape, rebuild=self.rebuild)
        try:
            if tiling is not None:
                return TiledSession(session, tiling)
            if self.tile == OFF:
                return session
            return in_tiles_where_needed(session, self.provider or GraphBackend.provider, self.overlap)
        except BaseException:
            session.close()
            raise

    def _first_shape(self, tiling: Tiling | None) -> Shape | None:
        """What the engine is given first: a tile of the size that was asked for, or the first image, in tiles if it is
        too large for the engine; None if that is not known.
        """
        if tiling is not None:
            return 1, tiling.height, tiling.width
        if self.first is None:
            return None
        height, width = self.first
        profile = None if self.tile == OFF else read_manifest(self.engine, verify=False).profile
        if profile is not None:
            _, most_height, most_width = profile.maximum
            height, width = min(height, most_height), min(width, most_width)
        return 1, height, width

    def backend(self) -> Backend:
        """What the options say of a graph or of an engine.

        Raises:
            DefianError: one is for the other kind of file.
        """
        name = self.engine.name
        if self.engine.suffix != ".onnx":
            if self.provider is not None:
                raise DefianError(
                    f"--provider {self.provider}: expected a graph (.onnx), found the engine {name}.",
                    "Leave --provider out: TensorRT runs an engine. Or give the .onnx file.",
                )
            return EngineBackend(cuda_graphs=self.cuda_graphs, check=self.check or EngineBackend.check)
        of_engines = {"--no-cuda-graphs": not self.cuda_graphs, "--check": self.check, "--rebuild": self.rebuild}
        for option, given in of_engines.items():
            if given:
                raise DefianError(
                    f"{option}: expected an engine, found the graph {name}.",
                    f"Leave {option} out: ONNX Runtime runs a graph. Or give the .engine file.",
                )
        return GraphBackend(provider=self.provider or GraphBackend.provider, threads=self.threads)

    def settings(self, sha256: str) -> dict[str, object]:
        """What decides the pixels of a result, beside its source.

        Args:
            sha256: of the engine.
        """
        provider = self.provider or GraphBackend.provider
        return {"engine": sha256, "tile": self.tile, "overlap": self.overlap, "provider": provider}
