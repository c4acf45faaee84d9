"""Everything an export needs to know, checked before any long work starts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from defian_edge.calibration.photos import PATCHES
from defian_edge.export.device import choose
from defian_edge.export.engine.compiler import Target
from defian_edge.export.engine.lowering import Eigen
from defian_edge.export.pack import DEFAULT_SIZE
from defian_edge.export.precision import Precision
from defian_edge.export.precision.int8.recipe import Recipe
from defian_edge.export.rewrites.base import Use
from defian_edge.export.source.picture import PictureFormat
from defian_edge.export.trace.network import Io
from defian_edge.export.triton.options import Served, TritonOptions, require_servable
from defian_edge.runtime.arguments import shown
from defian_edge.runtime.building.compiler import ANY
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.hardware.here import device_for
from defian_edge.runtime.profile import DEFAULT_PROFILE, ShapeProfile
from defian_edge.runtime.verify.pack import MOST_BYTES

FIRST_BF16_SM = 80
"""Compute capability of the first GPUs whose tensor cores multiply BF16 (Ampere)."""


@dataclass(frozen=True)
class ExportOptions:
    """One run of ``export.py``.

    Attributes:
        out: folder for the files.
        precisions: variants to make.
        picture: what a network other than DeFiAN takes for a picture.
        scale: that the network is expected to have; None for any.
        io: uint8 or float I/O.
        target: stop at ONNX, or build engines.
        sm: compute capability for TensorRT-RTX, ``current`` or ``any``.
        profile: shapes of the engine, and of the MAC and memory figures.
        calibration: folder of HR photos for INT8 ranges; None for the bundled ones.
        patches: number of LR calibration patches.
        recipe: how INT8 is made.
        sensitivity: measure and report what each part of the network costs in INT8.
        dataset, lr, hr: where drift is measured; see :func:`defian_edge.calibration.photos.evaluation_pairs`.
        eigen: lowering of the eigenvalue step.
        max_drift: budget per image in dB; None for no gate. INT8 takes the largest coverage that keeps it on
            calibration photos held back for validation.
        plain: no rewrite at all; the files are called ``<model>.plain.<precision>``.
        without: names of rewrites that are switched off.
        device: name in the table of devices; what cannot be built for it is an error, what does not fit its memory is
            told, and a precision is recommended for it. It chooses neither target nor compute capability, as the
            command line's does; see :func:`defian_edge.export.device.choose`. None for none.
        graph_for: which rewrites are chosen; None for what the target needs.
        workspace_mib, optimisation_level: see :class:`defian_edge.export.engine.build.EngineOptions`.
        reference_size: of the reference pack at most, MB; 0 for none. With float I/O there is none.
        rewrite_memory: ask TensorRT-RTX what it plans (memory, kernels, bytes) after every rewrite; None for the plain
            graph and the finished one alone, False not at all.
        name: what the files are called; empty for the checkpoint's own name.
        triton: a Triton model repository that engines, or graphs where there are none, are added to; None for none.
        serving: how they are served there; of graphs in the shapes of ``profile``.
        command: the command line, for the manifests.

    Raises:
        DefianError: options that make no sense, alone or together.
    """

    out: Path
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.FP16, Precision.INT8)
    picture: PictureFormat = field(default_factory=PictureFormat)
    scale: int | None = None
    io: Io = Io.UINT8
    target: Target = Target.ONNX
    sm: int | str | None = None
    profile: ShapeProfile = field(default_factory=lambda: ShapeProfile.parse(DEFAULT_PROFILE))
    calibration: Path | None = None
    patches: int = PATCHES
    recipe: Recipe = field(default_factory=Recipe)
    sensitivity: bool = False
    dataset: Path | None = None
    lr: Path | None = None
    hr: Path | None = None
    max_drift: float | None = None
    eigen: Eigen = Eigen.FUNCTION
    without: tuple[str, ...] = ()
    graph_for: Use | None = None
    plain: bool = False
    device: str | None = None
    workspace_mib: int | None = None
    optimisation_level: int | None = None
    reference_size: float = DEFAULT_SIZE
    rewrite_memory: bool | None = None
    name: str = ""
    triton: Path | None = None
    serving: TritonOptions = field(default_factory=TritonOptions)
    command: str = ""

    def __post_init__(self) -> None:
        self._make_paths()
        if not self.precisions:
            raise DefianError("No precision to export: give at least one --precision.")
        if self.name and not re.fullmatch(r"[\w-][\w.+-]*", self.name):
            raise DefianError(f"Expected a name of letters, digits, dots, dashes and plus, found {shown(self.name)}.")
        if self.patches < 1:
            raise DefianError(f"Expected at least one calibration patch, found {self.patches}.")
        if self.max_drift is not None and not self.max_drift >= 0.0:
            raise DefianError(f"Expected a drift budget of 0 dB or more, found {self.max_drift}.")
        if not 0.0 <= self.reference_size <= MOST_BYTES / 1e6:
            raise DefianError(
                f"Expected --reference-size from 0 to {MOST_BYTES / 1e6:.0f} MB, found {self.reference_size:g}."
            )
        if self.target is Target.TENSORRT_RTX and self.sm is None:
            raise DefianError(
                "--target tensorrt-rtx needs --sm, the compute capability of the GPU to build for.",
                "For example --sm 86 (RTX 30), --sm 89 (RTX 40), --sm 120 (RTX 50).",
            )
        if self.target is not Target.TENSORRT_RTX and self.sm is not None:
            raise DefianError(f"--sm goes with --target tensorrt-rtx; --target {self.target.value} does not need it.")
        if Precision.BF16 in self.precisions:
            self._require_bf16()
        if self.device is not None:
            choose(device_for(self.device), None, self.target, self.sm, self.workspace_mib)
        self._require_servable()

    def _require_bf16(self) -> None:
        if self.eigen is Eigen.PLUGIN:
            raise DefianError(
                "--precision bf16 with --eigen plugin: expected FP32 or FP16 features, which its kernel reads.",
                "Leave --eigen out, or ask for --precision fp16.",
            )
        if isinstance(self.sm, int) and self.sm < FIRST_BF16_SM:
            raise DefianError(
                f"--precision bf16 with --sm {self.sm}: expected {FIRST_BF16_SM} or more, the first with BF16.",
                "Ask for --precision fp16.",
            )

    def _require_servable(self) -> None:
        if self.triton is None:
            if self.serving != TritonOptions():
                raise DefianError("How files are served was said, but not where.", "Name a repository with --triton.")
            return
        flavour = "" if self.target is Target.ONNX else self.target.value
        plugin = bool(flavour) and self.eigen is Eigen.PLUGIN
        for precision in self.precisions:
            made = Served(precision.value, flavour, precision.value, self.io.value, plugin)
            require_servable(made, self.serving)

    def _make_paths(self) -> None:
        """Texts become paths, which the type asks for and a caller may forget."""
        for name in ("out", "calibration", "dataset", "lr", "hr"):
            given = getattr(self, name)
            if isinstance(given, str):
                object.__setattr__(self, name, Path(given))

    def may_mix_bf16(self, capability: str = "") -> bool:
        """Whether parts of a FP16 graph may become BF16: a compiler gets it, for a GPU that has BF16.

        ONNX Runtime has no BF16 convolution on a CPU, and what is exported to be run anywhere shall run there.

        Args:
            capability: that engines will be built for, such as ``8.9``, or ``any``, which holds 7.5; empty if none is
                built here, so that the device decides if there is one.
        """
        if capability == ANY:
            return False
        sm = int(capability.replace(".", "")) if capability else None
        if sm is None and self.device is not None:
            sm = device_for(self.device).sm
        served_as_graph = self.triton is not None and self.target is Target.ONNX
        older = sm is not None and sm < FIRST_BF16_SM
        return self.use is Use.ENGINE and self.eigen is not Eigen.PLUGIN and not served_as_graph and not older

    @property
    def use(self) -> Use:
        """What the graphs are for: engines, unless the export stops at graphs or was told otherwise."""
        return self.graph_for or (Use.PORTABLE if self.target is Target.ONNX else Use.ENGINE)
