"""Runs the pictures of a pack through a session, in every way a session can be used."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from ..guard import suspicious_place
from ..tiles import TiledSession
from .diagnosis import diagnosis
from .figures import Figures, figures_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ..interface import Session
    from .budget import Budget
    from .pack import ReferencePicture

    _Item = tuple[ReferencePicture | None, NDArray[np.uint8]]

ROUNDS = 3
"""An engine captures its CUDA graph in the second run and replays it from the third on."""
MOST_BATCH = 4
FRAMES = 3
NEAR = 1
"""Grey levels by which two calls on one picture may differ; a kernel with atomic sums may round a value otherwise."""


@dataclass(frozen=True)
class Outcome:
    """One result of one picture.

    Attributes:
        picture: which.
        way: how it was run: ``call 1``, ``image 2 of a batch of 4``, ``frame 3``, ``tiles``.
        figures: against PyTorch's picture and the original.
        promised: what the export promised; None for nothing.
        faults: what is beyond a limit or otherwise wrong, in words.
        kind: what kind of fault it is, as it seems; empty without faults.
        result: uint8 RGB [sH, sW, 3], where there are faults.
    """

    picture: ReferencePicture
    way: str
    figures: Figures
    promised: Figures | None
    faults: tuple[str, ...] = ()
    kind: str = ""
    result: NDArray[np.uint8] | None = field(default=None, repr=False)


class Checker:
    """Checks the sessions of one artefact.

    Args:
        pictures: of the pack; those that the artefact's profile does not take are left out.
        promised: picture -> what the export promised.
        budget: limits.
        session: open; tells profile and scale.

    Attributes:
        outcomes: of everything that has been run.
        left_out: names of the pictures that do not fit the profile.
    """

    def __init__(
        self,
        pictures: Sequence[ReferencePicture],
        promised: Mapping[str, Figures],
        budget: Budget,
        session: Session,
    ) -> None:
        self._promised, self._budget = promised, budget
        self._scale, self._profile = session.manifest.scale, session.profile
        self.outcomes: list[Outcome] = []
        self._first: dict[tuple[str, int], NDArray[np.uint8]] = {}
        fitting = [each for each in pictures if self._fits(each)]
        self.left_out = [each.name for each in pictures if not self._fits(each)]
        self._tiled = [each for each in fitting if each.tiling is not None]
        self._groups: dict[tuple[int, ...], list[ReferencePicture]] = {}
        for each in fitting:
            if each.tiling is None:
                self._groups.setdefault(each.lr.shape, []).append(each)

    @property
    def least_batch(self) -> int:
        """Images that every call must have."""
        return 1 if self._profile is None else self._profile.minimum[0]

    @property
    def batch(self) -> int:
        """Images of the batch that is checked; below 2 where the profile takes none."""
        return 2 if self._profile is None else max(min(self._profile.maximum[0], MOST_BATCH), self.least_batch)

    def _fits(self, picture: ReferencePicture) -> bool:
        if self._profile is None:
            return True
        height, width, _ = picture.lr.shape
        if picture.tiling is not None:
            height, width = min(height, picture.tiling.height), min(width, picture.tiling.width)
            return self._profile.contains((1, height, width))
        return self._profile.contains((self.least_batch, height, width))

    def calls(self, session: Session, name: str, rounds: int, small_rounds: int | None = None) -> None:
        """Every picture ``rounds`` times, never twice in a row: what a call keeps of the one before shows.

        Args:
            session: to call.
            name: of the way, such as ``call``, to which the number of the round is added.
            rounds: at least 1.
            small_rounds: of the small pictures; the same if it is not given.
        """
        for index, group in enumerate(self._groups.values()):
            items = self._never_alone(group)
            before: NDArray[np.uint8] | None = None
            for turn in range(rounds if small_rounds is None or index else small_rounds):
                for picture, lr in items:
                    results = session(np.repeat(lr[None], self.least_batch, axis=0))
                    for result in results if picture is not None else ():
                        self._see(picture, f"{name} {turn + 1}", result, before, self.least_batch)
                    before = results[0]

    def batches(self, session: Session) -> None:
        """The small photo with hard pictures as a batch, each in every place once."""
        items = self._small_ones(self.batch)
        if self.batch < 2 or not items:
            return
        for turn in range(self.batch):
            chosen = [items[(place - turn) % self.batch] for place in range(self.batch)]
            results = session(np.stack([lr for _, lr in chosen]))
            for place, ((picture, _), result) in enumerate(zip(chosen, results, strict=True)):
                self._see(picture, f"image {place + 1} of a batch of {self.batch}", result, None, self.batch)

    def frames(self, session: Session) -> None:
        """Three of the small pictures through ``upscale_frames``; an engine has them under way at once."""
        chosen = self._small_ones(FRAMES)
        if self.least_batch > 1 or not chosen:
            return
        before: NDArray[np.uint8] | None = None
        with closing(session.upscale_frames(lr for _, lr in chosen)) as results:
            for turn, ((picture, _), result) in enumerate(zip(chosen, results, strict=True)):
                self._see(picture, f"frame {turn + 1}", result, before)
                before = result

    def _small_ones(self, count: int) -> list[_Item]:
        """So many of the pictures that have the size of the first, which is a photo; the noisiest come behind it."""
        if not self._groups:
            return []
        first, *others = self._never_alone(next(iter(self._groups.values())))
        return list(islice(cycle([first, *reversed(others)]), count))

    def tiles(self, session: Session) -> None:
        """The pictures whose reference was computed in tiles."""
        for picture in self._tiled if self.least_batch == 1 else ():
            if picture.tiling is not None:
                self._see(picture, "tiles", TiledSession(session, picture.tiling)(picture.lr[None])[0], None)

    def _never_alone(
        self, group: Sequence[ReferencePicture]
    ) -> list[tuple[ReferencePicture | None, NDArray[np.uint8]]]:
        """The pictures and what goes in; one that is alone of its size alternates with its mirror image."""
        items: list[tuple[ReferencePicture | None, NDArray[np.uint8]]] = [(each, each.lr) for each in group]
        return [*items, (None, np.ascontiguousarray(group[0].lr[:, ::-1]))] if len(items) == 1 else items

    def _see(
        self,
        picture: ReferencePicture | None,
        way: str,
        result: NDArray[np.uint8],
        before: NDArray[np.uint8] | None,
        batch: int = 1,
    ) -> None:
        if picture is not None:
            first = self._first.setdefault((picture.name, batch), result)
            self.outcomes.append(self.judge(picture, way, result, before, first))

    def judge(
        self,
        picture: ReferencePicture,
        way: str,
        result: NDArray[np.uint8],
        before: NDArray[np.uint8] | None = None,
        first: NDArray[np.uint8] | None = None,
    ) -> Outcome:
        """Hold a result against PyTorch's picture.

        Args:
            picture: which.
            way: how it was run.
            result: uint8 RGB [sH, sW, 3].
            before: what the call before gave for another picture of this size.
            first: what the first call with as many images gave for this picture. Photos may not differ from it by more
                than ``NEAR``; on hard pictures a value that is rounded otherwise may grow.
        """
        promised = self._promised.get(picture.name)
        figures = figures_of(result, picture.reference, picture.original, self._scale)
        faults = self._budget.exceeded(figures, promised, hard=picture.kind == "hard")
        place = suspicious_place(picture.lr, result)
        if place is not None and suspicious_place(picture.lr, picture.reference) is None:
            faults.append(f"came out {place} although the input is not")
        if first is not None and picture.kind != "hard":
            step = int(np.abs(result.astype(np.int16) - first).max())
            if step > NEAR:
                faults.append(f"differs from its first result by up to {step} grey levels")
        if not faults:
            return Outcome(picture, way, figures, promised)
        kind = diagnosis(result, picture.reference, picture.lr, before)
        return Outcome(picture, way, figures, promised, tuple(faults), kind, result)
