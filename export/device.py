"""``--device NAME``: what an export for a device of the table is, unless other options say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from defian_edge.export.engine.compiler import Target
from defian_edge.runtime.building.compiler import ANY, CURRENT
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.hardware.jetsons import LEAST_TENSORRT, TENSORRT, tensorrt_of

if TYPE_CHECKING:
    from defian_edge.runtime.hardware.device import Device

MEBI = 1 << 20
SMALL = 16 << 30
"""Bytes of a memory that CPU and GPU share up to which the compiler's workspace is limited."""
WORKSPACE_SHARE = 8
"""One part in so many of it: 1024 MiB of 8 GB."""


@dataclass(frozen=True)
class EngineChoice:
    """Target, compute capability and workspace of an export, and in a sentence why."""

    target: Target
    sm: int | str | None
    workspace_mib: int | None
    why: str

    def words(self, device: Device) -> str:
        """What is chosen, as the options say it."""
        options = [f"--target {self.target.value}"]
        options += [f"--sm {self.sm}"] if self.sm is not None else []
        options += [f"--workspace {self.workspace_mib}"] if self.workspace_mib is not None else []
        return f"for {device.name}: {' '.join(options)}. {self.why}"


def choose(
    device: Device,
    here: Device | None,
    target: Target | None = None,
    sm: int | str | None = None,
    workspace_mib: int | None = None,
) -> EngineChoice:
    """What an export for a device is. What is given stays as it is, if the device can have it.

    Args:
        device: the engines are for it.
        here: what this machine is; None if it is none of the table.
        target: what the command line says; None for nothing.
        sm: likewise.
        workspace_mib: likewise.

    Raises:
        DefianError: no such engine runs on the device, it cannot be built here, or it does not have that much memory.
    """
    if target is None:
        target, why = _target(device, here)
    else:
        why = _required(device, here, target)
    if target is Target.TENSORRT_RTX:
        sm = _required_sm(device, sm)
    if workspace_mib is not None and workspace_mib * MEBI > device.memory:
        raise DefianError(
            f"--workspace {workspace_mib} with --device {device.name}: expected at most its memory, "
            f"{device.memory // MEBI} MiB.",
            "Leave --workspace out.",
        )
    if workspace_mib is None and target is Target.TENSORRT and device.unified and device.memory <= SMALL:
        workspace_mib = device.memory // WORKSPACE_SHARE // MEBI
    return EngineChoice(target, sm, workspace_mib, why)


def _target(device: Device, here: Device | None) -> tuple[Target, str]:
    if why := _too_old(device):
        return Target.ONNX, f"{why} Graphs run there: python -m runtime ... --provider cuda."
    if device.takes_rtx:
        return Target.TENSORRT_RTX, "TensorRT-RTX builds ahead of time for its compute capability."
    why = f"TensorRT-RTX does not run on compute capability {_text(device)}, and TensorRT builds on the device itself"
    if _same_gpu(device, here):
        return Target.TENSORRT, f"{why}, which this is."
    return Target.ONNX, f"{why}: copy graphs, manifests and reference pack, and run the same command there."


def _required(device: Device, here: Device | None, target: Target) -> str:
    if target is Target.TENSORRT_RTX and not device.takes_rtx:
        raise DefianError(
            f"--target {target.value} with --device {device.name}: TensorRT-RTX does not run on compute capability "
            f"{_text(device)}.",
            "Leave --target out, or give --target tensorrt on the device itself.",
        )
    if target is Target.TENSORRT:
        if why := _too_old(device):
            raise DefianError(f"--target {target.value} with --device {device.name}: {why}", "Give --target onnx.")
        if here is not None and not _same_gpu(device, here):
            raise DefianError(
                f"--target {target.value} with --device {device.name}: TensorRT builds on the device itself, and this "
                f"is a {here.name}.",
                "Leave --target out, and run the same command on the device.",
            )
    return "As --target says."


def _required_sm(device: Device, sm: int | str | None) -> int | str:
    if isinstance(sm, int) and sm != device.sm:
        raise DefianError(
            f"--sm {sm} with --device {device.name}: expected {device.sm}, its compute capability, {ANY!r} or "
            f"{CURRENT!r}.",
            "Leave one of the two out.",
        )
    return device.sm if sm is None else sm


def require_capability(device: Device, capability: str) -> None:
    """Refuse engines that this machine would build for another GPU.

    Args:
        device: they are for it.
        capability: that they would be built for, such as ``8.9``, or ``any``.

    Raises:
        DefianError: it is another than the device's.
    """
    if capability not in (_text(device), ANY):
        raise DefianError(
            f"--device {device.name}: expected engines for compute capability {_text(device)}, found that this machine "
            f"builds for {capability}.",
            "Run the same command on the device, or name it by --device auto there.",
        )


def _too_old(device: Device) -> str:
    """Why no TensorRT of its JetPacks builds our engines; empty if one does, or it is no Jetson."""
    if not device.is_jetson or tensorrt_of(device):
        return ""
    newest = device.jetpacks[-1]
    text = f"Engines need TensorRT {LEAST_TENSORRT}; the last JetPack for compute capability {_text(device)}, {newest},"
    return f"{text} has {TENSORRT[newest]}."


def _same_gpu(device: Device, here: Device | None) -> bool:
    return here is not None and here.capability == device.capability


def _text(device: Device) -> str:
    return f"{device.capability[0]}.{device.capability[1]}"
