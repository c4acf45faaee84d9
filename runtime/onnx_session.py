"""Run an ONNX graph with ONNX Runtime; the provider in use is always the one that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from runtime.errors import DefianError, MissingPackageError
from runtime.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OnnxSession:
    """A graph with uint8 I/O, ready to upscale batches.

    Args:
        path: the ``.onnx`` file; its manifest lies beside it.
        provider: ``cpu``, ``cuda`` or ``tensorrt``.
        threads: CPU threads, 0 for ONNX Runtime's choice.

    Raises:
        DefianError: the file does not fit its manifest, or the provider cannot run here. There is no
            silent fall-back to the CPU.
    """

    def __init__(self, path: Path, provider: str = "cpu", threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPackageError("onnxruntime", "cpu", f"Running {path.name}") from error
        if provider not in PROVIDERS:
            raise DefianError(f"No provider {provider!r}: expected one of {', '.join(PROVIDERS)}.")
        self.manifest: Manifest = read_manifest(path)
        if self.manifest.io != "uint8":
            raise DefianError(f"{path.name} has {self.manifest.io} I/O; the runtime runs graphs with uint8 I/O.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS[provider]])
        except Exception as error:  # ONNX Runtime raises its own exception types, which share no other base
            raise DefianError(f"ONNX Runtime cannot load {path}: {str(error).splitlines()[0]}") from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != PROVIDERS[provider]:
            raise DefianError(
                f"Expected {PROVIDERS[provider]}, but ONNX Runtime can only use {self.provider} here.",
                "Install onnxruntime-gpu and the CUDA libraries, or ask for --provider cpu.",
            )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Upscale uint8 RGB [N, H, W, 3] to uint8 RGB [N, sH, sW, 3].

        Raises:
            DefianError: another shape or type, or an image of a single pixel.
        """
        check_images(images)
        feeds = {self._session.get_inputs()[0].name: np.ascontiguousarray(images)}
        return np.asarray(self._session.run(None, feeds)[0])

    def describe(self) -> str:
        """One line: model, precision and what runs it."""
        return f"{self.manifest.model} x{self.manifest.scale} {self.manifest.precision}, ONNX Runtime {self.provider}"

    def __enter__(self) -> OnnxSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._session


def check_images(images: np.ndarray) -> None:
    """Refuse what the network cannot take: the wrong shape or type, or one pixel, whose variance is undefined.

    Raises:
        DefianError: with what was expected and what was found.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DefianError(f"Expected uint8 RGB images [N, H, W, 3], found {images.dtype} {list(images.shape)}.")
    if images.shape[0] < 1 or images.shape[1] * images.shape[2] < 2:
        raise DefianError(
            f"Expected at least one image of at least two pixels, found {list(images.shape)}.",
            "The network normalises by the variance over the image, which one pixel does not have.",
        )
