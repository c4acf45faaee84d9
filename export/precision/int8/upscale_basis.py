"""Exact changes around ``upscale(tail(y) + input(image))`` that make the sum in the middle easy to quantise.

Nothing but linear maps stand on both sides of the sum f, which gives two freedoms; neither changes the picture.

*Side channels.* Most of f repeats the image. The part of f that a 3x3 convolution of the image predicts best is
left out of the sum, computed as :data:`SIDE` channels of its own, and upscaled beside the rest: by INT8's measure
f becomes small, and the side channels stay FP16. A convolution's output is zero outside the image like f itself,
so the border stays exact too. With R the image's 3x3 windows and a constant, B the least squares
prediction of f, and G the Gram matrix of the upscaling's weights, the channels are the leading ones of B in G's metric.

*Basis.* Any invertible matrix A may stand in the sum if its inverse stands in all readers. With second
moment M of the pixels, the error of a quantiser with one step for all channels is proportional to
``sum_c (A M A^T)_cc (A^-T G A^-1)_cc``. It is least where all terms are equal and both matrices have the same
eigenvectors: whiten, turn to the eigenvectors of ``M^1/2 G M^1/2``, scale by the fourth root of the eigenvalues, and
spread evenly by a Hadamard matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import dct
from scipy.linalg import hadamard

from defian_edge.export.graph import Emitter, array_of, integers, only_consumer, producer_of, set_constant
from defian_edge.export.precision.int8.maps import BESIDE, groups_of
from defian_edge.export.precision.int8.structure import Structure

if TYPE_CHECKING:
    import onnx_ir as ir

SIDE = 8
"""Side channels: eight FP16 values are one 16-byte vector. More give little (docs/quantisation.md)."""
WINDOW = 3
SMALLEST_EIGENVALUE = 1e-8
SIDE_NAME = "side"
MOST_PICTURE_CHANNELS = 4


class LinearSum:
    """The sum in front of the upscaling.

    Attributes:
        found: whether the graph has it, with convolutions of constant weights on both sides and nothing else:
            tail and a 3x3 convolution of the image on one, the upscaling and its border corrections on the other.
        tensor: name of the sum, [N, C, H, W].
        image: name of the normalised image, [N, 3, H, W].
    """

    def __init__(self, model: ir.Model) -> None:
        self.found = False
        self.tensor = self.image = ""
        structure = Structure(model.graph)
        addition = structure.last_sum
        if addition is None:
            return
        sources = [producer_of(value, "Conv") for value in addition.inputs]
        tail = next((node for node in sources if node in structure.wide), None)
        shallow = next((node for node in sources if node is not tail), None)
        readers = _linear_readers(addition.outputs[0], structure)
        if tail is None or shallow is None or not readers or not _is_plain(tail) or not _is_plain(shallow):
            return
        if any(only_consumer(node.outputs[0]) is not addition for node in (tail, shallow)):
            return
        if shallow.inputs[0] is None or not _reads_picture(shallow):
            return
        self.found, self._structure = True, structure
        self.tail, self.shallow, self.readers = tail, shallow, readers
        self.tensor, self.image = addition.outputs[0].name or "", shallow.inputs[0].name or ""

    @property
    def gram(self) -> np.ndarray:
        """Gram matrix [C, C] of the upscaling's weights: what a change of one pixel does to the picture, squared."""
        weights = [_wide(node) for node in self.readers if node in self._structure.wide]
        return sum((np.einsum("ocyx,odyx->cd", weight, weight) for weight in weights), np.zeros(()))

    def improve(self, moment: np.ndarray, *, side: bool, basis: bool) -> None:
        """Apply one or both freedoms to the graph, in place.

        Args:
            moment: second moment of (windows of the image, 1, pixels of the sum), as
                :class:`~defian_edge.calibration.ranges.observers.JointMoment` measures it.
            side: move what the image predicts into side channels.
            basis: change the basis of the sum.
        """
        count = len(moment) - len(self.gram)
        windows, cross, pixels = moment[:count, :count], moment[:count, count:], moment[count:, count:]
        if side:
            windows = windows + np.eye(count) * SMALLEST_EIGENVALUE * np.trace(windows)
            kernel, spread = side_channels(windows, cross, self.gram)
            self._divert(kernel, spread)
            prediction = kernel @ spread
            pixels = pixels - cross.T @ prediction - prediction.T @ cross + prediction.T @ windows @ prediction
        if basis:
            self._rotate(best_basis(pixels, self.gram))

    def _rotate(self, matrix: np.ndarray) -> None:
        for node in (self.tail, self.shallow):
            for index in range(1, len(node.inputs)):
                array = array_of(node.inputs[index])
                if array is not None:
                    set_constant(node, index, np.tensordot(matrix, array.astype(np.float64), axes=1))
        inverse = np.linalg.inv(matrix)
        for node in self.readers:
            set_constant(node, 1, np.einsum("ocyx,cd->odyx", _wide(node), inverse))

    def _divert(self, kernel: np.ndarray, spread: np.ndarray) -> None:
        """Take ``windows @ kernel @ spread`` out of the sum and upscale ``windows @ kernel`` beside it."""
        prediction = (kernel @ spread).T
        weight = _wide(self.shallow)
        size = weight[0].size
        set_constant(self.shallow, 1, weight - prediction[:, :size].reshape(weight.shape))
        bias = array_of(self.shallow.inputs[2]) if len(self.shallow.inputs) > 2 else None
        less = -prediction[:, size] if bias is None else bias - prediction[:, size]
        if bias is None:
            self.shallow.resize_inputs(3)
        set_constant(self.shallow, 2, less)
        emit = Emitter()
        side = emit(
            "Conv", self.shallow.inputs[0],
            emit.constant(kernel[:size].T.reshape(-1, *weight.shape[1:]).astype(np.float32)),
            emit.constant(kernel[size].astype(np.float32)), kernel_shape=[WINDOW] * 2, pads=[WINDOW // 2] * 4,
        )  # fmt: skip
        emit.nodes[-1].name = SIDE_NAME
        emit.insert_before(self.shallow)
        self._annotate(side, self.shallow.outputs[0], len(spread))
        for node in self.readers:
            self._read_beside(node, side, np.einsum("ocyx,sc->osyx", _wide(node), spread))

    @staticmethod
    def _annotate(value: ir.Value, like: ir.Value, channels: int) -> None:
        import onnx_ir as ir

        value.type = like.type
        if like.shape is not None:
            value.shape = ir.Shape([like.shape[0], channels, *list(like.shape)[2:]])

    @staticmethod
    def _read_beside(reader: ir.Node, side: ir.Value, weight: np.ndarray) -> None:
        """Convolve the side channels as the reader convolves the sum, through slices like its own, and add."""
        slices = []
        value = reader.inputs[0]
        while (slicing := producer_of(value, "Slice")) is not None:
            slices.insert(0, slicing)
            value = slicing.inputs[0]
        emit = Emitter()
        for slicing in slices:
            side = emit("Slice", side, *slicing.inputs[1:])
            side.type = slicing.outputs[0].type
        attributes = {name: attribute.value for name, attribute in reader.attributes.items()}
        uses = list(reader.outputs[0].uses())
        beside = emit("Conv", side, emit.constant(weight.astype(np.float32)), **attributes)
        total = emit("Add", reader.outputs[0], beside)
        emit.nodes[-1].name = f"{reader.name or reader.outputs[0].name}{BESIDE}"
        for value in (beside, total):
            value.shape, value.type = reader.outputs[0].shape, reader.outputs[0].type
        if reader.graph is None:
            raise ValueError(f"{reader.name} is in no graph")
        reader.graph.insert_after(reader, emit.nodes)
        for use in uses:
            use.node.replace_input_with(use.idx, total)


def _reads_picture(node: ir.Node) -> bool:
    """Whether a convolution reads as many channels as a picture has."""
    weight = array_of(node.inputs[1])
    return weight is not None and weight.shape[1] <= MOST_PICTURE_CHANNELS


def _is_plain(node: ir.Node) -> bool:
    """A 3x3 convolution in one group with constant weights that keeps the image's size."""
    weight = array_of(node.inputs[1])
    return (
        weight is not None
        and groups_of(node) == 1
        and all(value is None or array_of(value) is not None for value in node.inputs[2:])
        and weight.shape[2:] == (WINDOW, WINDOW)
        and integers(node, "pads") == (WINDOW // 2,) * 4
        and integers(node, "dilations", (1, 1)) == (1, 1)
        and integers(node, "strides", (1, 1)) == (1, 1)
    )


def _linear_readers(value: ir.Value, structure: Structure) -> list[ir.Node]:
    """The convolutions that read the value, directly or through slices; none if anything else reads its numbers.

    Without groups, and one of them wide.
    """
    readers: list[ir.Node] = []
    pending = [use.node for use in value.uses()]
    while pending:
        node = pending.pop()
        if node.op_type == "Conv" and array_of(node.inputs[1]) is not None and groups_of(node) == 1:
            readers.append(node)
        elif node.op_type == "Slice":
            pending += [use.node for use in node.outputs[0].uses()]
        elif node.op_type != "Shape":
            return []
    return readers if any(node in structure.wide for node in readers) else []


def _wide(node: ir.Node) -> np.ndarray:
    weight = array_of(node.inputs[1])
    if weight is None:
        raise ValueError(f"{node.name} has no constant weight")
    return weight.astype(np.float64)


def side_channels(windows: np.ndarray, cross: np.ndarray, gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reduced-rank regression of the sum's pixels on the image's windows.

    Args:
        windows: second moment of the K predictors, [K, K].
        cross: predictors times pixels, [K, C].
        gram: metric of the pixels, [C, C].

    Returns:
        kernel [K, S] of the side channels, each of unit second moment, and what they add to the pixels, [S, C].
    """
    prediction = np.linalg.solve(windows, cross)
    root, inverse_root = _roots(gram)
    values, vectors = np.linalg.eigh(root @ prediction.T @ windows @ prediction @ root)
    leading = vectors[:, np.argsort(values)[::-1][:SIDE]]
    kernel, spread = prediction @ root @ leading, leading.T @ inverse_root
    sizes = np.sqrt(np.maximum(np.einsum("ks,kl,ls->s", kernel, windows, kernel), np.finfo(np.float64).tiny))
    sizes /= np.sqrt(windows[-1, -1])  # the constant's entry is the total weight
    return kernel / sizes, spread * sizes[:, None]


def best_basis(moment: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The matrix A [C, C] of the module's docstring; the readers' weights keep their size under its inverse.

    Args:
        moment: second moment of the pixels, [C, C].
        gram: Gram matrix of the readers, [C, C].
    """
    root, inverse_root = _roots(moment)
    values, vectors = np.linalg.eigh(root @ gram @ root)
    values = np.maximum(values, values.max() * SMALLEST_EIGENVALUE)
    basis = _spreading(len(moment)) @ (values[:, None] ** 0.25 * vectors.T) @ inverse_root
    return basis * np.sqrt(np.trace(np.linalg.inv(basis @ basis.T)) / len(basis))


def _spreading(size: int) -> np.ndarray:
    """An orthogonal matrix with entries as even as can be."""
    if size & (size - 1) == 0:
        return hadamard(size) / np.sqrt(size)
    return np.asarray(dct(np.eye(size), norm="ortho"))


def _roots(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(matrix)
    roots = np.sqrt(np.maximum(values, values.max() * SMALLEST_EIGENVALUE))
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
