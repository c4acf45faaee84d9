"""Does this engine fit this device? Answered from the manifest, before anything is deserialised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import DefianError
from ..manifest import ANY_CAPABILITY, command_for, command_with
from ..profile import ShapeProfile

if TYPE_CHECKING:
    from pathlib import Path

    from ..manifest import EngineFacts, Manifest
    from ..profile import Shape

MEBI = 1 << 20


def engine_facts(manifest: Manifest) -> EngineFacts:
    """The manifest's facts about the engine.

    Raises:
        DefianError: it has none, or no profile.
    """
    if manifest.engine is None or manifest.profile is None:
        absent = "facts about an engine" if manifest.engine is None else "profile"
        raise DefianError(
            f"{manifest.file}: expected the manifest of an engine, found one without {absent}.",
            f"Copy engine and manifest again, or rebuild it: {manifest.command}",
        )
    return manifest.engine


def require_version(manifest: Manifest, found: str) -> None:
    """Refuse an engine of another TensorRT version: plans load only where they were built.

    Args:
        manifest: the engine's.
        found: version of the installed module, such as ``10.3.0``; a fourth number is not compared.

    Raises:
        DefianError: the first three numbers differ.
    """
    facts = engine_facts(manifest)
    if facts.version.split(".")[:3] != found.split(".")[:3]:
        raise DefianError(
            f"{manifest.file}: expected {facts.flavour} {facts.version}, which built it, found {found}.",
            f"Install that version, or rebuild with this one: {manifest.command}",
        )


def require_device(manifest: Manifest, name: str, capability: tuple[int, int]) -> None:
    """Refuse an engine for another compute capability.

    Raises:
        DefianError: with the capability that was expected and the one found.
    """
    facts = engine_facts(manifest)
    found = f"{capability[0]}.{capability[1]}"
    if facts.compute_capability not in (found, ANY_CAPABILITY):
        raise DefianError(
            f"{manifest.file}: expected a GPU of compute capability {facts.compute_capability}, "
            f"found {name} with {found}.",
            f"Rebuild it {_rebuilt_for(facts, manifest.command, found)}",
        )


def _rebuilt_for(facts: EngineFacts, command: str, capability: str) -> str:
    """Where and how to build the engine for another GPU: TensorRT builds on the GPU itself, TensorRT-RTX anywhere."""
    if facts.flavour == "tensorrt-rtx":
        return f"for this GPU: {command_for(command, facts.flavour, capability.replace('.', ''))}"
    return f"on this GPU: {command_for(command, facts.flavour)}"


def needed_bytes(manifest: Manifest) -> int:
    """Device memory for the engine: activations, weights, and the I/O of the most frequent shape."""
    facts = engine_facts(manifest)
    weights = facts.weights_bytes if facts.weights_bytes is not None else facts.engine_bytes
    batch, height, width = manifest.profile.optimum if manifest.profile else (0, 0, 0)
    frames = batch * height * width * 3 * (1 + manifest.scale**2)
    return (facts.activation_bytes or 0) + weights + frames


def require_memory(manifest: Manifest, free: int, total: int) -> None:
    """Refuse an engine that needs more memory than is free.

    Args:
        manifest: the engine's.
        free: free memory of the GPU in bytes.
        total: all of it in bytes.

    Raises:
        DefianError: with what is needed and what is free, in MiB.
    """
    needed = needed_bytes(manifest)
    if needed > free:
        raise DefianError(
            f"{manifest.file}: expected {needed // MEBI} MiB of free GPU memory, found {free // MEBI} MiB of "
            f"{total // MEBI} MiB.",
            "Close other programs on the GPU, or rebuild for a smaller --profile: " + manifest.command,
        )


def require_shape(manifest: Manifest, shape: Shape) -> None:
    """Refuse a shape outside the profile.

    Args:
        manifest: the engine's.
        shape: batch, height, width of the low-resolution images.

    Raises:
        DefianError: with the nearest shape that fits and the way to run larger images.
    """
    profile = manifest.profile
    if profile is None or profile.contains(shape):
        return
    nearest = "x".join(map(str, profile.nearest(shape)))
    too_small = any(side < least for side, least in zip(shape, profile.minimum, strict=True))
    shapes = (_least(profile.minimum, shape), profile.optimum, _most(profile.maximum, shape))
    wider = ",".join("x".join(map(str, each)) for each in shapes)
    way_out = "Rebuild" if too_small else "Use tiles (--tile auto), or rebuild"
    raise DefianError(
        f"{manifest.file}: expected images inside the profile {profile} (batch x height x width), "
        f"found {'x'.join(map(str, shape))}; the nearest that fits is {nearest}.",
        f"{way_out}: {command_with(manifest.command, '--profile', wider)}",
    )


def widened(profile: ShapeProfile, shape: Shape) -> ShapeProfile:
    """The least profile that takes what this one takes, and the shape.

    Raises:
        DefianError: no profile takes the shape.
    """
    return ShapeProfile(_least(profile.minimum, shape), profile.optimum, _most(profile.maximum, shape))


def _least(one: Shape, other: Shape) -> Shape:
    batch, height, width = (min(pair) for pair in zip(one, other, strict=True))
    return batch, height, width


def _most(one: Shape, other: Shape) -> Shape:
    batch, height, width = (max(pair) for pair in zip(one, other, strict=True))
    return batch, height, width


def read_plan(path: Path) -> bytes:
    """The engine's bytes.

    Raises:
        DefianError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DefianError(f"Cannot read {path}: {error.strerror}.") from error
