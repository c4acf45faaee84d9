"""The first time that an engine is opened on a GPU: is its picture PyTorch's?

A compiler's kernels are chosen for each device, and there have been kernels that are wrong on one GPU and right on
another. So ``open_session`` runs the smallest photo of the reference pack once for every engine, pack, GPU, driver and
TensorRT version, and keeps the verdict in the cache folder. An engine whose picture is wrong is not given out.
``python -m runtime verify`` looks at everything.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import TYPE_CHECKING

import numpy as np

from ..cache import cache_folder, keep, read_cached
from ..errors import DefianError
from .budget import Budget
from .checks import Checker
from .pack import read_pack
from .promise import Promise, promise_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..engine.session import EngineSession
    from .checks import Outcome

FOLDER = "verified"
RIGHT, WRONG, UNCHECKED = "right", "wrong", "unchecked"


class UncheckedEngineWarning(UserWarning):
    """An engine was opened on a device on which nothing has held it against PyTorch's pictures."""


def require_right_picture(session: EngineSession, path: Path) -> None:
    """Hold an engine against a picture of its pack, unless that has been done on this device.

    Without a pack it is said once, as an :class:`UncheckedEngineWarning`, that nothing was checked.

    Args:
        session: of the engine, just opened; nothing of the check stays in it.
        path: of the engine; its pack lies beside it.

    Raises:
        DefianError: the picture is wrong; the pack is damaged or another network's; or there is none and
            ``EngineBackend.check`` is ``always``.
    """
    if session.backend.check == "never":
        return
    promise = promise_of(session.manifest)
    record = _Record(session, promise)
    always = session.backend.check == "always"
    if not always and record.verdict() == RIGHT:
        return
    why, outcome = _look(session, path, promise)
    if outcome is None:
        if always:
            raise DefianError(
                f"{path.name}: cannot be checked, as EngineBackend(check='always') asks: {why}.",
                f"Export it again, or copy the pack along: {session.manifest.command}",
            )
        if record.verdict() != UNCHECKED:
            record.keep(UNCHECKED, why)
            warnings.warn(
                f"{path.name}: nothing was checked on this device: {why}.", UncheckedEngineWarning, stacklevel=3
            )
        return
    record.keep(WRONG if outcome.faults else RIGHT, f"{outcome.figures.psnr_to_reference:.2f} dB")
    if outcome.faults:
        raise DefianError(
            f"{path.name} gives a wrong picture on this device ({record.words}): {outcome.picture.name}: "
            f"{'; '.join(outcome.faults)}. It looks like {outcome.kind}.",
            f"python -m runtime verify {path} tells more. EngineBackend(check='never') opens it all the same. "
            f"Rebuild it: {session.manifest.command}",
        )


def _look(session: EngineSession, path: Path, promise: Promise | None) -> tuple[str, Outcome | None]:
    """Why nothing was checked, or what was found."""
    if promise is None:
        return "its manifest names no reference pack", None
    place = path.with_name(promise.file)
    if not place.is_file():
        return f"its reference pack {promise.file} is not beside it", None
    pack = read_pack(place, promise.sha256)
    pack.require_network(session.manifest)
    first = next(each for each in pack.pictures if each.name == pack.first)
    checker = Checker([pack.load(first)], promise.figures, Budget(), session)
    if checker.left_out:
        return f"its profile takes no picture of {promise.file} of {first.size[0]}x{first.size[1]}", None
    picture = pack.load(first)
    result = session.probe(np.repeat(picture.lr[None], checker.least_batch, axis=0))[0]
    return "", checker.judge(picture, "first call", result)


class _Record:
    """What is known of an engine on a device, in a file of the cache folder."""

    def __init__(self, session: EngineSession, promise: Promise | None) -> None:
        identity = session.device_identity()
        self.words = ", ".join(filter(None, identity.values()))
        pack = "" if promise is None else promise.sha256
        self._key = {"engine": session.manifest.sha256, "pack": pack, **identity}
        digest = hashlib.sha256(json.dumps(self._key, sort_keys=True).encode()).hexdigest()
        folder = cache_folder()
        self._path = None if folder is None else folder / FOLDER / f"{digest[:32]}.json"

    def verdict(self) -> str:
        """What was found before; empty if nothing, or what is kept cannot be believed."""
        kept = None if self._path is None else read_cached(self._path)
        try:
            said = json.loads(kept or b"")
            return said["verdict"] if said["key"] == self._key else ""
        except (ValueError, KeyError, TypeError):
            return ""

    def keep(self, verdict: str, words: str) -> None:
        """A verdict that cannot be kept costs the next start some milliseconds."""
        content = {"verdict": verdict, "found": words, "key": self._key}
        if self._path is not None:
            keep(self._path, (json.dumps(content, indent=2) + "\n").encode())
