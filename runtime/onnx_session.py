"""Run an ONNX graph with ONNX Runtime; the provider in use is always the one that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .backends import PROVIDERS, GraphBackend
from .errors import DefianError
from .graph_io import require_one_picture, require_scale, require_size
from .guard import FrameGuard
from .interface import check_frame, check_images, require_uint8_io
from .manifest import Manifest, read_manifest
from .onnx_runtime import import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path
    from types import TracebackType

    from .profile import ShapeProfile

RECORD_PLACES = "session.record_ep_graph_assignment_info"
"""From ONNX Runtime 1.24 on a session tells which provider runs which node; earlier ones ignore the entry."""


class OnnxSession:
    """A graph with uint8 I/O, ready to upscale batches.

    Args:
        path: the ``.onnx`` file; its manifest lies beside it.
        backend: the provider and its threads; by default the CPU.

    Raises:
        DefianError: the file does not fit its manifest, takes or gives anything but one picture, does not enlarge it by
            the manifest's scale, or the provider cannot run here. There is no
            silent fall-back to the CPU, neither of the graph nor of its convolutions.
    """

    def __init__(self, path: Path, backend: GraphBackend | None = None) -> None:
        onnxruntime = import_onnxruntime(f"Running {path.name}")
        backend = backend or GraphBackend()
        provider = backend.provider
        self.manifest: Manifest = read_manifest(path)
        self.guard = FrameGuard()
        require_uint8_io(self.manifest)
        if self.manifest.has_bf16 and provider == "cpu":
            what = "is" if self.manifest.precision == "bf16" else "has parts in"
            raise DefianError(
                f"{path.name} {what} BF16, and ONNX Runtime has no BF16 convolution on the CPU.",
                "Build an engine of it (--target tensorrt-rtx or tensorrt), or export --precision fp32 for the CPU.",
            )
        if PROVIDERS[provider] not in onnxruntime.get_available_providers():
            raise _no_provider(provider, "CPUExecutionProvider")
        if provider != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN from NVIDIA's wheels, which are on no library path
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = backend.threads
        options.log_severity_level = 3
        options.add_session_config_entry(RECORD_PLACES, "1")
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS[provider]])
        except Exception as error:  # ONNX Runtime raises its own exception types, which share no other base
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise DefianError(f"ONNX Runtime cannot load {path}: {said}") from error
        self._session.disable_fallback()  # or its Python layer would do a run again on the CPU when the provider fails
        self.provider: str = self._session.get_providers()[0]
        if self.provider != PROVIDERS[provider]:
            raise _no_provider(provider, self.provider)
        self._left_over = "" if provider == "cpu" else self._left_on_the_cpu()
        require_one_picture(self._session, self.manifest)
        if (
            provider != "tensorrt"
        ):  # it would build an engine for the small picture; there the first result is looked at
            require_scale(self._session, self.manifest)

    def _left_on_the_cpu(self) -> str:
        """What the provider left to the CPU, for ``describe``: shape arithmetic at most.

        Raises:
            DefianError: it left a convolution.
        """
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            return ", nodes left to the CPU unknown before ONNX Runtime 1.24"
        places = self._session.get_provider_graph_assignment_info()
        left = [node for part in places if part.ep_name == PROVIDERS["cpu"] for node in part.get_nodes()]
        heavy = [node.name for node in left if "Conv" in node.op_type]
        if heavy:
            raise DefianError(
                f"Expected all convolutions on {self.provider}, found {len(heavy)} on the CPU, such as {heavy[0]}.",
                "Use another precision, --provider cuda or cpu, or a newer onnxruntime-gpu.",
            )
        return f", {len(left)} nodes without convolution left to the CPU" if left else ""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Upscale uint8 RGB [N, H, W, 3] to uint8 RGB [N, sH, sW, 3].

        Raises:
            DefianError: another shape or type, an image of a single pixel, one of another size than the graph takes, or
                a failure of ONNX Runtime, such as too little memory.
        """
        check_images(images)
        if self._session is None:
            raise DefianError("This session is closed.", "Open it again with open_session().")
        _require_in_profile(images, self.manifest)
        feeds = {self._session.get_inputs()[0].name: np.ascontiguousarray(images)}
        try:
            upscaled = np.asarray(self._session.run(None, feeds)[0])
        except Exception as error:  # as above
            shape = "x".join(map(str, images.shape[:3]))
            said = (str(error).splitlines() or [type(error).__name__])[0]
            hint = "If memory is short, use tiles (--tile 192x192) or a smaller batch."
            raise DefianError(f"ONNX Runtime failed at upscaling {shape}: {said}", hint) from error
        require_size(images, upscaled, self.manifest)
        self.guard.see(images, upscaled)
        return upscaled

    @property
    def profile(self) -> ShapeProfile | None:
        """The one size that the graph takes; None for any."""
        return self.manifest.profile

    def upscale_frames(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
        """Upscale frames, uint8 RGB [H, W, 3], one by one and in their order.

        Raises:
            DefianError: as ``__call__``; the results of earlier frames have been given out.
        """
        for frame in frames:
            check_frame(frame)
            yield self(frame[None])[0]

    tiling: None = None
    """An image goes in one piece."""
    cut: int = 0

    def timings(self) -> dict[str, float]:
        """Nothing: ONNX Runtime does not tell what a device spends on the parts of a call."""
        return {}

    def close(self) -> None:
        """Free the graph; again is harmless."""
        self._session = None

    def describe(self) -> str:
        """One line: model, precision and what runs it."""
        manifest = self.manifest
        return f"{manifest.model} x{manifest.scale} {manifest.precision}, ONNX Runtime {self.provider}{self._left_over}"

    def __enter__(self) -> OnnxSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _require_in_profile(images: np.ndarray, manifest: Manifest) -> None:
    """Refuse a size that a graph of one size does not take; of the batch ONNX Runtime says so.

    Raises:
        DefianError: with both sizes.
    """
    if manifest.profile is None:
        return
    _, height, width = manifest.profile.maximum
    if images.shape[1:3] != (height, width):
        found = f"{images.shape[1]}x{images.shape[2]}"
        raise DefianError(
            f"{manifest.file} takes pictures of {height}x{width} alone, found {found}.",
            f"Larger ones go in tiles: --tile {height}x{width}.",
        )


def _no_provider(asked: str, used: str) -> DefianError:
    """ONNX Runtime was built without the provider, or lacks a library that it needs."""
    return DefianError(
        f"Expected {PROVIDERS[asked]}, but ONNX Runtime can only use {used} here.",
        "Install onnxruntime-gpu and the CUDA libraries, or ask for --provider cpu.",
    )
