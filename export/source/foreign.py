"""A network of any architecture as the network of an export: known by what it does alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from defian_edge.calibration.drift.evaluation import Evaluation
from defian_edge.calibration.drift.evaluator import GraphEvaluator, session_of
from defian_edge.export.graph import copy_of
from defian_edge.export.source.base import ANY_SIZE, Sizes, SourceNetwork
from defian_edge.export.source.sizes import one_line
from defian_edge.export.source.wrap import wrap
from defian_edge.export.trace.network import Io
from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from onnxruntime import InferenceSession

    from defian_edge.export.source.picture import PictureFormat
    from defian_edge.export.source.sizes import Fit, Run

WHITE = 255.0
RELATIVE = 1e-4
"""Of the network's largest value by which its graph may differ; FP32 alone makes 1e-6."""
ROUNDING = 2.0**-23
"""By so much of itself the input is changed to see what a network makes of one rounding, where it is more than that."""
ROUNDINGS = 16
"""So many times that may a graph differ: every layer rounds, and not only the input."""
TOLERANCE = 0.25
"""The same in grey levels of the finished picture, where a network may enlarge what its input was rounded by."""
TRACED = "Something in it depends on the number of images, the size or the values that it was traced with."
PROVED = ((3, 17, 23), (1, 40, 26))
"""Images, LR height and width at which the finished graph is held against the network: odd sizes, and others; and not
two images, with which modules are traced."""


@dataclass(frozen=True)
class Identity:
    """What a foreign network is called: its name, a SHA-256, what kind of thing it was, and what runs it."""

    name: str
    sha256: str
    kind: str
    words: str
    reference: str


@dataclass(frozen=True)
class Nature:
    """What was said of a network, and found by running it.

    Attributes:
        picture: what it takes for a picture.
        fit: its scale, and what it demands of sizes.
        reach: as :func:`.reach.measure_reach` gives it.
        sizes: what its graph takes.
        tiling: what its loader says of tiles, in one word; empty if nothing.
    """

    picture: PictureFormat
    fit: Fit
    reach: dict[str, Any]
    sizes: Sizes = ANY_SIZE
    tiling: str = ""


class ForeignNetwork(SourceNetwork):
    """A network that is known by what it does alone.

    Args:
        identity: what it is called.
        run: the network as it was given, float32 [N, C, H, W] -> [N, C, sH, sW]: the reference.
        graph: makes its FP32 graph of the same numbers in this project's opset.
        nature: what it takes and does.
    """

    def __init__(self, identity: Identity, run: Run, graph: Callable[[], ir.Model], nature: Nature) -> None:
        self._identity, self._run, self._graph, self.nature = identity, run, graph, nature
        self.picture, self.fit, self.sizes, self.reach = nature.picture, nature.fit, nature.sizes, nature.reach
        self.name, self.sha256, self.scale = identity.name, identity.sha256, nature.fit.scale
        self.reference = identity.reference
        self.source: dict[str, Any] = {"kind": identity.kind, "picture": self.picture.as_json()}
        if nature.tiling:
            self.source["tiling"] = nature.tiling
        self.description = self._described()

    def _described(self) -> str:
        parts = [f"{self._identity.words} x{self.scale}", str(self.picture)]
        if str(self.fit):
            parts.append(f"padded to {self.fit}")
        if self.sizes.height is not None or self.sizes.width is not None:
            parts.append(f"fixed at {self.sizes.height or 'any'}x{self.sizes.width or 'any'}")
        if self.sizes.one_image:
            parts.append("one image at a time")
        return ", ".join(parts)

    def renamed(self, name: str) -> ForeignNetwork:
        """The same network under another name."""
        return ForeignNetwork(replace(self._identity, name=name), self._run, self._graph, self.nature)

    def trace(self, io: Io) -> ir.Model:
        """The network's graph between uint8 pictures, held against the network at odd sizes and in a batch.

        Raises:
            DefianError: float I/O; there is no graph; or it gives other pictures than the network.
        """
        if io is not Io.UINT8:
            raise DefianError("--io float is for parity tests of DeFiAN; other networks are given as floats already.")
        model = copy_of(self._graph())
        self._prove_graph(model)
        wrap(model, self.picture, self.fit, self.sizes)
        model.graph.name = f"{self._identity.kind}-x{self.scale}"
        self._prove_picture(model)
        return model

    def evaluate(self, lr: np.ndarray) -> Evaluation:
        """The network's own picture of uint8 RGB [H, W, 3].

        Raises:
            DefianError: it does not run at that size.
        """
        levels = self.levels(lr[None])[0]
        shown = np.clip(np.nan_to_num(levels, nan=0.0, posinf=WHITE, neginf=0.0), 0.0, WHITE)
        return Evaluation(np.rint(shown).astype(np.uint8), bool(np.isfinite(levels).all()), shown)

    def levels(self, images: np.ndarray) -> np.ndarray:
        """Grey levels before clamping, float32 [N, sH, sW, 3], of uint8 RGB [N, H, W, 3]."""
        height, width = images.shape[1:3]
        try:
            result = self._run(self.fit.pad(self.picture.to_values(images)))
        except DefianError:
            raise
        except Exception as error:
            raise DefianError(f"{self.name} does not run at {height}x{width}: {one_line(error)}") from error
        return self.picture.to_levels(self.fit.crop(result, height, width), images)

    def _prove_graph(self, graph: ir.Model) -> None:
        """Hold the graph against the network on its own numbers, clamped nowhere; three images where it takes them."""
        session = session_of(graph)
        for batch, *size in PROVED:
            images = self._noise(1 if self.sizes.one_image else batch, *size)
            values = self.fit.pad(self.picture.to_values(images))
            expected = self._run(values)
            where = "x".join(map(str, (*values.shape[:1], *values.shape[2:])))
            found = _result_of(session, values, where)
            if not np.isfinite(expected).all():
                raise DefianError(f"The network gives NaN or Inf on noise of {where}.", "Train or download it again.")
            if found.shape != expected.shape:
                shapes = f"{list(found.shape)} instead of {list(expected.shape)}"
                raise DefianError(f"The graph gives another size than the network at {where}: {shapes}.", TRACED)
            difference = _apart(found, expected)
            if not (difference <= RELATIVE or difference <= ROUNDINGS * self._rounding(values, expected)):
                raise DefianError(
                    f"The graph gives another result than the network at {where}: {difference:.2g} of the largest "
                    "value apart.",
                    TRACED,
                )

    def _rounding(self, values: np.ndarray, expected: np.ndarray) -> float:
        """How far the network's result moves, as :func:`_apart`, once every value of its input is rounded."""
        signs = np.random.default_rng(3).integers(0, 2, values.shape) * 2 - 1
        return _apart(self._run((values * (1 + ROUNDING * signs)).astype(np.float32)), expected)

    def _prove_picture(self, model: ir.Model) -> None:
        """Hold the wrapped graph's pictures against the network's, whose numbers are made outside of a graph."""
        evaluate = GraphEvaluator(model)
        for _, *size in PROVED:
            image = self._noise(1, *size)[0]
            difference = float(np.abs(evaluate(image).values - self.evaluate(image).values).max())
            if not difference <= TOLERANCE:
                raise DefianError(
                    f"The graph between uint8 pictures gives another one than the network at {image.shape[0]}x"
                    f"{image.shape[1]}: {difference:.3g} grey levels apart.",
                    "This is a defect of defian-edge; please report it.",
                )

    def _noise(self, batch: int, height: int, width: int) -> np.ndarray:
        """uint8 [N, H, W, 3] of that size, or of the one that is fixed."""
        size = batch, self.sizes.height or height, self.sizes.width or width, 3
        return np.random.default_rng(height).integers(0, 256, size, dtype=np.uint8)


def _apart(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, of the largest value that is expected."""
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), np.finfo(np.float32).tiny))


def _result_of(session: InferenceSession, values: np.ndarray, where: str) -> np.ndarray:
    try:
        return np.asarray(session.run(None, {session.get_inputs()[0].name: values})[0])
    except Exception as error:  # ONNX Runtime raises its own exception types, which share no other base
        raise DefianError(
            f"The graph does not run at {where}, where the network does: {one_line(error)}", TRACED
        ) from (error)
