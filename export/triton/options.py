"""How a file is served, and what no Triton server can serve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.export.engine.compiler import Target
from defian_edge.runtime.backends import PROVIDERS
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.triton_model import MOST_PIXELS

if TYPE_CHECKING:
    from defian_edge.runtime.profile import ShapeProfile

BACKENDS = ("native", "session")
TILES = ("auto", "off")


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How graphs and engines are served.

    Attributes:
        backend: ``native``, Triton's own TensorRT backend for a plan and its ONNX Runtime backend for a graph; or
            ``session``, its Python backend over :func:`defian_edge.open_session`, with preflight, tiles and guard.
        provider: what runs a graph: ``cpu``, ``cuda`` or ``tensorrt``; None for ``cpu``, and for an engine.
        instances: of the model on every GPU, or on the CPU.
        profile: of a graph, which takes any shape: what is warmed up, and how large batches may be. None for batches
            of one and no warm-up. An engine has its own.
        tiles: of a session: ``auto`` to cut what does not fit the engine or the memory, ``off`` to refuse it.
        most_pixels: of a session: LR pixels of one picture at most.

    Raises:
        DefianError: another backend, provider or word for tiles, or a number below 1.
    """

    backend: str = "native"
    provider: str | None = None
    instances: int = 1
    profile: ShapeProfile | None = None
    tiles: str = "auto"
    most_pixels: int = MOST_PIXELS

    def __post_init__(self) -> None:
        providers = (None, *PROVIDERS)
        for name, found, known in (
            ("backend", self.backend, BACKENDS),
            ("provider", self.provider, providers),
            ("tiles", self.tiles, TILES),
        ):
            if found not in known:
                expected = ", ".join(each for each in known if each)
                raise DefianError(f"Triton's {name} {found!r}: expected one of {expected}.")
        if self.instances < 1 or self.most_pixels < 1:
            raise DefianError(
                f"Expected at least 1 instance and 1 pixel, found {self.instances} and {self.most_pixels}."
            )


@dataclass(frozen=True)
class Served:
    """What decides whether a file can be served.

    Attributes:
        name: for messages.
        flavour: ``tensorrt`` or ``tensorrt-rtx`` of an engine; empty for a graph.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        io: ``uint8`` or ``float``.
        has_plugin: an engine that cannot be loaded without the eigenvalue plugin.
    """

    name: str
    flavour: str
    precision: str
    io: str
    has_plugin: bool


def require_servable(served: Served, options: TritonOptions) -> None:
    """Refuse what the backend cannot load or would not run as it was measured.

    Raises:
        DefianError: with what to ask for instead.
    """
    session = "Ask for the session: --triton-backend session."
    if served.io != "uint8":
        raise DefianError(
            f"{served.name}: expected uint8 I/O to be served, found {served.io} I/O.",
            "Export it with --io uint8, which is the default.",
        )
    if served.flavour and options.provider is not None:
        raise DefianError(
            f"{served.name}: expected a graph for the provider {options.provider}, found an engine.",
            "Leave --triton-provider out: TensorRT runs an engine.",
        )
    if not served.flavour and served.precision == "bf16" and options.provider in (None, "cpu"):
        raise DefianError(
            f"{served.name}: ONNX Runtime has no BF16 convolution on the CPU, and no engine is served.",
            "Serve an engine (--target tensorrt or tensorrt-rtx), or a graph of another precision.",
        )
    if options.backend == "session":
        return
    if served.flavour == Target.TENSORRT_RTX.value:
        raise DefianError(
            f"{served.name}: Triton's TensorRT backend loads plans of TensorRT, and this is one of TensorRT-RTX.",
            f"{session} Or build with --target tensorrt.",
        )
    if served.has_plugin:
        raise DefianError(
            f"{served.name}: this plan needs the eigenvalue plugin, which a Triton server does not have.",
            f"{session} Or export with --eigen function.",
        )
    if options.provider == "tensorrt" and served.precision == "int8":
        raise DefianError(
            f"{served.name}: Triton's TensorRT accelerator switches on one of INT8 and FP16, and this graph has both.",
            "Serve a plan (--target tensorrt), or ask for --triton-provider cuda.",
        )
