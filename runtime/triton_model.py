"""A session behind a Triton Inference Server: what the ``model.py`` of a model repository starts.

``export.py --triton REPOSITORY --triton-backend session`` writes such a repository. Triton's Python backend imports
this in a process of its own for every instance, and brings the module ``triton_python_backend_utils``, which can be
had nowhere else: it is imported when an instance starts. All calls come from the thread that started it.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .backends import EngineBackend, GraphBackend
from .errors import DefianError
from .guard import suspicious_place
from .interface import check_images
from .manifest import manifest_path
from .session import open_session
from .tiles import in_tiles_where_needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .interface import Session

INPUT, OUTPUT = "image", "upscaled"
"""Names of the tensors, which are those of every exported graph."""
MOST_PIXELS = 4096 * 2160
"""LR pixels of one picture that a server takes unless its configuration says otherwise: a frame of 4K cinema."""
_TAKEN = b"used_dltensor"


@dataclass(frozen=True)
class Refusal:
    """Why a request has no picture, and whether the client can mend that."""

    message: str
    is_clients: bool


@dataclass(frozen=True)
class Settings:
    """What the model's ``config.pbtxt`` says to this model.

    Attributes:
        provider: what runs a graph; empty for an engine.
        tiles: ``auto`` to cut what does not fit the engine or the memory, ``off`` to refuse it.
        most_pixels: LR pixels of one picture; larger ones are refused.
        batch: pictures that are upscaled at once.
    """

    provider: str = "cpu"
    tiles: str = "auto"
    most_pixels: int = MOST_PIXELS
    batch: int = 1

    @classmethod
    def of(cls, config: dict[str, Any]) -> Settings:
        """Read them from Triton's model configuration as JSON.

        Raises:
            DefianError: one is no number or no known word.
        """
        said = {key: value.get("string_value", "") for key, value in config.get("parameters", {}).items()}
        tiles, pixels = said.get("tiles", cls.tiles), said.get("most_pixels", str(MOST_PIXELS))
        if tiles not in ("auto", "off") or not pixels.isdecimal() or int(pixels) < 1:
            raise DefianError(
                f"config.pbtxt: expected tiles as auto or off and most_pixels as a number, found {tiles!r}, {pixels!r}."
            )
        return cls(said.get("provider", cls.provider), tiles, int(pixels), max(1, int(config.get("max_batch_size", 1))))


class TritonPythonModel:
    """The three calls of Triton's Python backend, over one session."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session of the file in this version's folder.

        Args:
            args: ``model_config`` as JSON, ``model_repository`` (the model's folder), ``model_version``,
                ``model_instance_kind`` and ``model_instance_device_id``.

        Raises:
            TritonModelException: what the preflight found, in its words.
        """
        self._pb = import_module("triton_python_backend_utils")
        try:
            self.settings = Settings.of(json.loads(args["model_config"]))
            file = served_file(Path(args["model_repository"]) / args["model_version"])
            self.session = _open(file, self.settings, args)
        except DefianError as error:
            raise self._pb.TritonModelException(str(error)) from error
        self._pb.Logger.log_info(f"{args['model_name']} {args['model_version']}: {self.session.describe()}")

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each request with its pictures, or with why there are none."""
        asked = [self._pb.get_input_tensor_by_name(request, INPUT).as_numpy() for request in requests]
        return [self._response(each) for each in upscale_requests(self.session, asked, self.settings)]

    def finalize(self) -> None:
        """Free everything."""
        self.session.close()

    def _response(self, result: np.ndarray | Refusal) -> Any:  # noqa: ANN401 - Triton's own type
        pb = self._pb
        if isinstance(result, np.ndarray):
            return pb.InferenceResponse([tensor_of(pb, OUTPUT, result)])
        code = pb.TritonError.INVALID_ARG if result.is_clients else pb.TritonError.INTERNAL
        return pb.InferenceResponse(error=pb.TritonError(result.message, code))


def served_file(folder: Path) -> Path:
    """The graph or engine in a version's folder: the file beside which lies a manifest.

    Raises:
        DefianError: there is none, or more than one.
    """
    found = [path for path in sorted(folder.iterdir()) if path.is_file() and manifest_path(path).is_file()]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise DefianError(
            f"{folder}: expected one graph or engine with its manifest, found {names}.",
            "Write the version again with export.py --triton, and copy its folder whole.",
        )
    return found[0]


def _open(file: Path, settings: Settings, args: dict[str, str]) -> Session:
    device = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else 0
    if file.suffix == ".onnx" and device != 0:
        raise DefianError(
            f"{file.name}: expected an instance on GPU 0, where a graph runs, found GPU {device}.",
            "Write gpus: [ 0 ] into the instance_group of config.pbtxt, or serve an engine.",
        )
    backend = GraphBackend(provider=settings.provider) if file.suffix == ".onnx" else EngineBackend(device=device)
    session = open_session(file, backend=backend)
    return session if settings.tiles == "off" else in_tiles_where_needed(session, settings.provider)


def upscale_requests(session: Session, asked: Sequence[np.ndarray], settings: Settings) -> list[np.ndarray | Refusal]:
    """Upscale the pictures of several requests, those of one size together; one that fails spoils no other.

    Args:
        session: what upscales.
        asked: of each request a batch, uint8 RGB [N, H, W, 3].
        settings: how large pictures and batches may be.

    Returns:
        Of each request a batch, uint8 RGB [N, sH, sW, 3], or why there is none.
    """
    answers: list[np.ndarray | Refusal] = [_refused(each, settings) or each for each in asked]
    waiting = [index for index, each in enumerate(answers) if isinstance(each, np.ndarray)]
    while waiting:
        group, total = [], 0
        for index in waiting:
            fits = not group or total + len(asked[index]) <= settings.batch
            if fits and asked[index].shape[1:] == asked[waiting[0]].shape[1:]:
                group.append(index)
                total += len(asked[index])
        waiting = [index for index in waiting if index not in group]
        for index, answer in zip(group, _upscale(session, [asked[index] for index in group]), strict=True):
            answers[index] = answer
    return answers


def _refused(images: np.ndarray, settings: Settings) -> Refusal | None:
    try:
        check_images(images)
    except DefianError as error:
        return Refusal(str(error), is_clients=True)
    _, height, width, _ = images.shape
    if height * width <= settings.most_pixels:
        return None
    return Refusal(
        f"Expected pictures of at most {settings.most_pixels} pixels, found {height}x{width}, which is "
        f"{height * width}. The server's limit is most_pixels in config.pbtxt.",
        is_clients=True,
    )


def _upscale(session: Session, batches: list[np.ndarray]) -> list[np.ndarray | Refusal]:
    """One call for batches of one size; black or white frames that the guard notices are refused, not sent."""
    before = session.guard.suspicious
    images = batches[0] if len(batches) == 1 else np.concatenate(batches)
    try:
        upscaled = session(images)
    except DefianError as error:
        return [Refusal(str(error), is_clients=_is_outside(session, images))] * len(batches)
    results = np.split(upscaled, np.cumsum([len(each) for each in batches])[:-1])
    if session.guard.suspicious == before:
        return list(results)
    places = [_place(*each) for each in zip(batches, results, strict=True)]
    if not any(places):  # seen in a tile, and not in the whole: it cannot be said whose it is
        places = ["black or white in a patch"] * len(batches)
    return [
        Refusal(f"A picture came out {place} although what was sent is not. Nothing is sent.", is_clients=False)
        if place
        else result
        for place, result in zip(places, results, strict=True)
    ]


def _is_outside(session: Session, images: np.ndarray) -> bool:
    """Whether what failed lies outside the shapes that are taken; with tiles only what is too small does."""
    shape = (images.shape[0], images.shape[1], images.shape[2])
    if session.profile is not None:
        return not session.profile.contains(shape)
    engine = session.manifest.profile
    return engine is not None and any(size < least for size, least in zip(shape, engine.minimum, strict=True))


def _place(images: np.ndarray, upscaled: np.ndarray) -> str | None:
    found = (suspicious_place(*each) for each in zip(images, upscaled, strict=True))
    return next((place for place in found if place), None)


def tensor_of(pb: Any, name: str, array: np.ndarray) -> Any:  # noqa: ANN401 - Triton's own module and type
    """A tensor of Triton's Python backend over an array, by DLPack and without a copy.

    Not by ``pb.Tensor(name, array)``: a backend that was compiled for NumPy 1 sends NumPy 2's arrays as empty ones
    and says nothing. The backend renames a capsule that it has taken to ``used_dlpack``, while NumPy's destructor
    knows DLPack's own ``used_dltensor`` alone and would complain in the server's log about each request.
    """
    capsule = array.__dlpack__()
    tensor = pb.Tensor.from_dlpack(name, capsule)
    rename = ctypes.pythonapi.PyCapsule_SetName
    rename.argtypes, rename.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_int
    rename(capsule, _TAKEN)
    return tensor
