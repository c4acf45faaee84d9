"""The manifest: a JSON file beside every graph and engine, read before anything is loaded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from .errors import DefianError
from .files import sha256_of, write_whole
from .json_values import parse_json
from .producer import other_schema
from .profile import ShapeProfile

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
ANY_CAPABILITY = "any"
"""Compute capability of an engine that was built for no particular GPU; TensorRT-RTX decides when it loads it."""
NoneType = type(None)
REBUILD = "Rebuild it with export.py."
TEXTS = ("file", "sha256", "model", "precision", "io", "checkpoint_sha256", "command", "parent_sha256", "eigen")
FIGURES = ("activation_bytes", "weights_bytes", "kernels", "moved_bytes", "workspace_mib", "optimisation_level")
LARGEST_SCALE = 16
MOST_LETTERS = 80


@dataclass(frozen=True)
class EngineFacts:
    """What the compiler said of an engine, and what the engine demands of a device.

    ``flavour`` is ``tensorrt`` or ``tensorrt-rtx``; ``compute_capability`` is such as ``8.9``, or ``any``; sizes
    are bytes; ``layers`` and, of these, ``plugin_layers`` are the parsed network's. ``kernels`` and ``moved_bytes``,
    what one run at the profile's largest shape launches, and reads and writes in memory, are the compiler's plan; None
    where it says neither, as TensorRT does. ``workspace_mib`` and ``optimisation_level`` are what the compiler was
    told; None for its own choice, and where the manifest is of a version that did not write them.
    """

    flavour: str
    version: str
    compute_capability: str
    activation_bytes: int | None
    weights_bytes: int | None
    engine_bytes: int
    build_seconds: float
    layers: int
    plugin_layers: int = 0
    kernels: int | None = None
    moved_bytes: int | None = None
    workspace_mib: int | None = None
    optimisation_level: int | None = None


@dataclass(frozen=True)
class Manifest:
    """What a graph or engine file is, where it came from and what it was measured to do.

    Attributes:
        file: name of the file that the manifest stands beside.
        sha256: of that file.
        model: name of the checkpoint.
        scale: how many times as high and wide the picture becomes, from 1 to 16.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        io: ``uint8`` (RGB [N, H, W, 3]) or ``float`` (normalised [N, 3, H, W]).
        checkpoint_sha256: of the checkpoint's file.
        parent_sha256: of the ONNX graph that an engine was built from; empty for a graph.
        rewrites: names of the graph rewrites that changed the graph.
        profile: shapes an engine accepts; None for a graph that takes any.
        engine: facts about an engine; None for a graph.
        calibration: method, data hash and numbers of the INT8 calibration; empty otherwise.
        drift: summary of the measured drift against the PyTorch reference; empty if not measured.
        command: the export.py command that made the file.
        eigen: lowering of the eigenvalue step: ``plugin``, ``function`` or ``inline``. A graph made for ``plugin`` and
            one made for ``function`` are the same file, and hold the function.
        built_by: the program and version that made the file, such as ``defian-edge 0.2.0``; empty if 0.1 made it.
        plugins: TensorRT plugins without which the file cannot be loaded, such as
            ``defian::MaxHessianEigenvalue/1``; see :func:`defian_edge.runtime.plugin.provide`.
        use: which rewrites were chosen: ``portable``, to run anywhere, or ``engine``, to be compiled. The latter may
            take one image at a time only, and be slow where nodes run one by one.
        reference: the reference pack by name and SHA-256, and what the variant was measured to do on its pictures;
            empty if there is none. See :mod:`defian_edge.runtime.verify.promise`.
        reach: how far a pixel is seen: ``{"whole_image": true}``, or ``{"whole_image": false, "pixels": n}`` as
            measured; empty if it was not.
        source: what the network was and what it took for a picture, so that the reference can be run again; empty for
            DeFiAN.
        mixed: what became of a FP16 graph that missed its budget or was not finite; empty if FP16 kept it alone.
            ``bf16``, ``fp32_range`` and ``fp32`` name the parts of which nodes are BF16 or FP32 where FP16's range
            ends, and those that are FP32 whole; ``parts`` counts all, ``nodes`` those that are not FP16 for it, and
            ``trials`` the graphs that were measured. ``refused`` says why there was no choice, and is left out if
            there was one; a refused graph is not written.
    """

    file: str
    sha256: str
    model: str
    scale: int
    precision: str
    io: str
    checkpoint_sha256: str
    command: str
    parent_sha256: str = ""
    rewrites: tuple[str, ...] = ()
    profile: ShapeProfile | None = None
    engine: EngineFacts | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    drift: dict[str, Any] = field(default_factory=dict)
    eigen: str = "function"
    plugins: tuple[str, ...] = ()
    built_by: str = ""
    use: str = "portable"
    reference: dict[str, Any] = field(default_factory=dict)
    reach: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    mixed: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def has_bf16(self) -> bool:
        """Whether anything in the file is BF16."""
        return self.precision == "bf16" or bool(self.mixed.get("bf16"))

    def write(self, folder: Path) -> Path:
        """Write ``<file>.json`` into the folder and return its path."""
        path = folder / f"{self.file}.json"
        write_whole(path, self.as_bytes())
        return path

    def as_bytes(self) -> bytes:
        """What the file of the manifest holds."""
        content = asdict(self)
        content["profile"] = str(self.profile) if self.profile is not None else None
        return (json.dumps(content, indent=2) + "\n").encode()


def manifest_path(file: Path) -> Path:
    """Where the manifest of a graph or engine lies."""
    return file.with_name(f"{file.name}.json")


def command_with(command: str, option: str, value: str) -> str:
    """A command line with one option changed, or added if it was not there."""
    words = command.split(" ")
    for index, word in enumerate(words):
        if word == option and index + 1 < len(words):
            words[index + 1] = value
            return " ".join(words)
        if word.startswith(f"{option}="):
            words[index] = f"{option}={value}"
            return " ".join(words)
    return f"{command} {option} {value}"


def command_for(command: str, flavour: str, sm: str = "") -> str:
    """A command line that builds the same engine for another GPU than it was for.

    Args:
        command: as it is kept; the device that it names is another one, and goes.
        flavour: ``tensorrt`` or ``tensorrt-rtx``, which that device may have decided.
        sm: what ``--sm`` is to be; empty for TensorRT, which builds for the GPU that it runs on.
    """
    words = command.split(" ")
    for index, word in enumerate(words):
        if word == "--device" or word.startswith("--device="):
            del words[index : index + (2 if word == "--device" else 1)]
            command = command_with(" ".join(words), "--target", flavour)
            break
    return command_with(command, "--sm", sm) if sm else command


def read_manifest(file: Path, *, verify: bool = True) -> Manifest:
    """Read and check the manifest beside a graph or engine.

    Args:
        file: the graph or engine.
        verify: compare the file's SHA-256 with the manifest's.

    Raises:
        DefianError: file or manifest is missing, unreadable, of another schema, or of another file's content.
    """
    if not file.is_file():
        raise DefianError(f"No file at {file}.", "Build it with export.py, or check the path.")
    path = manifest_path(file)
    if not path.is_file():
        raise DefianError(
            f"{file} has no manifest: expected {path.name} beside it.",
            "Copy the manifest along with the file; export.py writes both.",
        )
    manifest = _parse(path)
    if verify and (found := sha256_of(file)) != manifest.sha256:
        raise DefianError(
            f"{file} is not the file its manifest describes: expected SHA-256 {manifest.sha256[:16]}..., "
            f"found {found[:16]}...",
            f"Copy both files again or rebuild them: {manifest.command}",
        )
    return manifest


def _parse(path: Path) -> Manifest:
    try:
        content = parse_json(path.read_bytes())
        schema = content["schema"]
        if isinstance(schema, bool) or schema != SCHEMA:
            raise other_schema(path, SCHEMA, schema, content.get("built_by"))
        known = {item.name for item in fields(Manifest)}
        values = {key: value for key, value in content.items() if key in known}
        values["profile"] = ShapeProfile.parse(values["profile"]) if values.get("profile") else None
        values["engine"] = EngineFacts(**values["engine"]) if values.get("engine") else None
        values["rewrites"] = tuple(values.get("rewrites", ()))
        values["plugins"] = tuple(values.get("plugins", ()))
        manifest = Manifest(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DefianError(
            f"{path} is no manifest of this project ({type(error).__name__}: {error}).", "Rebuild it with export.py."
        ) from error
    _require_types(path, manifest, TEXTS, str)
    _require_types(path, manifest, ("scale",), int)
    _require_types(path, manifest, ("built_by", "use"), str)
    _require_types(path, manifest, ("calibration", "drift", "reference", "reach", "source", "mixed"), dict)
    if not 1 <= manifest.scale <= LARGEST_SCALE:
        raise DefianError(
            f"{path}: expected a scale from 1 to {LARGEST_SCALE}, found {shortened(manifest.scale)}.", REBUILD
        )
    for name in ("rewrites", "plugins"):
        if not all(isinstance(each, str) for each in getattr(manifest, name)):
            raise DefianError(
                f"{path}: expected {name} as a list of str, found {shortened(getattr(manifest, name))}.", REBUILD
            )
    if manifest.engine is not None:
        _require_types(path, manifest.engine, ("flavour", "version", "compute_capability"), str)
        _require_types(path, manifest.engine, ("engine_bytes",), int)
        _require_types(path, manifest.engine, FIGURES, (int, NoneType))
    return manifest


def shortened(value: object) -> str:
    """A value in an error; what nobody would read to its end is cut."""
    text = repr(value)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}..."


def _require_types(path: Path, holder: object, names: tuple[str, ...], kind: type | tuple[type, ...]) -> None:
    for name in names:
        value = getattr(holder, name)
        if not isinstance(value, kind) or isinstance(value, bool):
            expected = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            raise DefianError(f"{path}: expected {name} as {expected}, found {shortened(value)}.", REBUILD)
