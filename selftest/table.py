"""The stages, in the order of what they are worth: when time runs out, the last ones are missing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """One stage; it runs in a process of its own.

    Attributes:
        name: what ``--stage`` takes.
        title: what it finds out, in a few words.
        least: seconds that must be left of the budget for it to start.
        limit: seconds after which it is ended; what it has measured until then is kept.
        work: module and function; empty for ``defian_edge.selftest.stages.<name>:run``.
    """

    name: str
    title: str
    least: int
    limit: int
    work: str = ""

    def __post_init__(self) -> None:
        if not self.work:
            object.__setattr__(self, "work", f"defian_edge.selftest.stages.{self.name.replace('-', '_')}:run")


STAGES = (
    Stage("environment", "card, driver, versions, clocks, copy bandwidth, matrix rate", 3, 30),
    Stage("kernel", "the eigenvalue kernel against PyTorch and against the copy bandwidth", 10, 50),
    Stage("gpu-tests", "the tests marked gpu", 20, 60),
    Stage("pytorch", "the reference network in PyTorch: the speed to beat, and FP16's drift on tensor cores", 15, 50),
    Stage("onnx-cuda", "the graphs by ONNX Runtime's CUDA provider: drift against the emulation's, latency", 20, 80),
    Stage("rtx-target", "which target of TensorRT-RTX runs on this card, in the compiler's own words", 10, 20),
    Stage("rtx", "engines of TensorRT-RTX: drift, latency, memory, plugin against function", 30, 150),
    Stage("tensorrt", "the same for TensorRT", 60, 400),
    Stage("frames", "a stream of frames: throughput, overlap, first start against second", 10, 60),
    Stage("soak", "2000 frames of changing shapes; the device's memory stays flat", 15, 90),
    Stage("training", "tools.train for up to five minutes: images per second", 60, 330),
    Stage("sanitizer", "compute-sanitizer's memcheck and racecheck on the kernel", 20, 120),
)


def stage_named(name: str) -> Stage | None:
    """The stage of that name; None if there is none."""
    return next((stage for stage in STAGES if stage.name == name), None)
