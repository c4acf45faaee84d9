"""Graphs and engines into a Triton model repository, ``<model>/<version>/``: a version is added, none overwritten."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from defian_edge.export.triton import analyzer
from defian_edge.export.triton.config import GRAPH, PLAN, SESSION, config_of, largest_batch
from defian_edge.export.triton.options import Served, TritonOptions, require_servable
from defian_edge.export.triton.staging import unfinished_folder, write_file
from defian_edge.runtime.errors import DefianError
from defian_edge.runtime.files import cannot_write, require_writable_folder
from defian_edge.runtime.manifest import Manifest, manifest_path, read_manifest
from defian_edge.runtime.verify.promise import promise_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = "config.pbtxt"
OPTION = "--triton"
ONE_AT_A_TIME = frozenset({"early-attention"})
"""Rewrites that leave a graph for one picture at a time. Named here, so that this room needs no ONNX."""
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.+-]*")
ELSEWHERE = "Take another repository, or move that model away."
MODEL = '''\
"""Serves the file beside this one through a session of defian-edge, which does what the runtime does."""

try:
    from defian_edge.runtime.triton_model import TritonPythonModel  # noqa: F401 - Triton looks for it here
except ImportError as error:
    raise ImportError(
        f"This model needs defian-edge in the Python of Triton's Python backend ({error}): "
        "pip install 'defian-edge[cpu]' for a graph on the CPU, 'defian-edge[device]' for an engine."
    ) from error
'''
"""A session's ``model.py``: what it does is the installed runtime's, so that an update of that mends old versions."""


@dataclass(frozen=True)
class ServedModel:
    """One version of a model in a repository.

    Attributes:
        name: of the model.
        version: the number of the version that was added.
        folder: of the version.
        file: that Triton opens in it: ``model.plan``, ``model.onnx`` or ``model.py``.
        config_kept: the model has a ``config.pbtxt`` that says something else than this version's would; it was left.
    """

    name: str
    version: int
    folder: Path
    file: str
    config_kept: bool = False


@dataclass(frozen=True)
class _Version:
    """What is to be written."""

    name: str
    kind: str
    manifest: Manifest
    options: TritonOptions
    contents: dict[str, Path | bytes]
    config: str
    analyzer: str


def triton_repository(
    files: Path | str | Sequence[Path | str], repository: Path | str, options: TritonOptions | None = None
) -> tuple[ServedModel, ...]:
    """Add graphs or engines to a Triton model repository, each as the next version of the model of its name.

    A new model appears whole, with its ``config.pbtxt`` and a file for NVIDIA's Model Analyzer; of a model that is
    there nothing is changed, and it gets one more folder. All files are looked at before anything is written.

    Args:
        files: one or more ``.onnx`` or ``.engine`` files, each with its manifest beside it.
        repository: the folder that a server is given as ``--model-repository``; made if it is not there.
        options: how they are served.

    Returns:
        What was added, in the order of the files.

    Raises:
        DefianError: a file has no manifest or does not fit it; the backend cannot serve it; the repository has another
            model of its name, or cannot be written.
    """
    options, folder = options or TritonOptions(), Path(repository)
    given = [files] if isinstance(files, (str, Path)) else list(files)
    versions = [_version(Path(file), folder, options) for file in given]
    names = [version.name for version in versions]
    for name in names:
        if names.count(name) > 1:
            raise DefianError(f"Two of the files would be the model {name}: expected one.", "Leave one of them out.")
    require_writable_folder(folder, OPTION)
    for version in versions:
        _require_same_model(version, folder / version.name)
    return tuple(_add(version, folder) for version in versions)


def _version(file: Path, repository: Path, options: TritonOptions) -> _Version:
    manifest = read_manifest(file)
    require_servable(served_of(manifest), options)
    if manifest.engine is not None:
        if options.profile is not None and str(options.profile) != str(manifest.profile):
            raise DefianError(
                f"{file.name}: expected the engine's own profile {manifest.profile}, found {options.profile}.",
                "Leave the profile out: it is for graphs.",
            )
        options = replace(options, profile=manifest.profile)
    _require_profile(manifest, options)
    name = re.sub(r"(\.tensorrt(-rtx)?\.engine|\.onnx)$", "", file.name)
    if not NAME.fullmatch(name):
        raise DefianError(
            f"{file.name}: expected a name of letters, digits, dots, dashes and plus for a model.",
            "Export the checkpoint under another name.",
        )
    kind = SESSION if options.backend == "session" else GRAPH if manifest.engine is None else PLAN
    on_gpu = manifest.engine is not None or options.provider not in (None, "cpu")
    config = config_of(name, kind, manifest, options)
    tried = analyzer.analyzer_of(name, repository, options, on_gpu=on_gpu)
    return _Version(name, kind, manifest, options, _contents(file, kind, manifest), config, tried)


def served_of(manifest: Manifest) -> Served:
    """What decides whether a file can be served, as its manifest says."""
    flavour = "" if manifest.engine is None else manifest.engine.flavour
    precision = "bf16" if manifest.has_bf16 else manifest.precision
    return Served(manifest.file, flavour, precision, manifest.io, bool(manifest.plugins))


def _require_profile(manifest: Manifest, options: TritonOptions) -> None:
    """Refuse batches that the graph does not take, and a warm-up that the model would refuse."""
    if options.profile is None:
        return
    batch, pixels = options.profile.maximum[0], options.profile.largest_pixels
    if manifest.engine is None and batch > 1 and ONE_AT_A_TIME.intersection(manifest.rewrites):
        raise DefianError(
            f"{manifest.file} takes one picture at a time, found a profile of up to {batch}.",
            f"Export it with a profile of such batches: {manifest.command}",
        )
    if options.backend == "session" and pixels > options.most_pixels:
        raise DefianError(
            f"{manifest.file}: expected at most {options.most_pixels} pixels, found {pixels} in {options.profile}.",
            "Raise most_pixels, or take a smaller profile.",
        )


def _contents(file: Path, kind: str, manifest: Manifest) -> dict[str, Path | bytes]:
    """What lies in a version's folder: the file and its manifest, and the pack that it is verified with."""
    name = file.name if kind == SESSION else kind
    contents: dict[str, Path | bytes] = {name: file}
    contents[manifest_path(Path(name)).name] = replace(manifest, file=name).as_bytes()
    promise = promise_of(manifest)
    if promise is not None and file.with_name(promise.file).is_file():
        contents[promise.file] = file.with_name(promise.file)
    if kind == SESSION:
        contents[SESSION] = MODEL.encode()
    return contents


def _require_same_model(version: _Version, folder: Path) -> None:
    """Refuse a model of the same name that is another one, or is served by another backend or in other batches.

    Raises:
        DefianError: with what is there.
    """
    if not folder.exists():
        return
    numbers = _numbers(folder)
    config = folder / CONFIG
    if not numbers or not config.is_file():
        raise DefianError(
            f"{folder}: expected a model with its {CONFIG} and a version, found neither whole.", ELSEWHERE
        )
    newest = folder / str(numbers[-1])
    kind = next((each for each in (SESSION, GRAPH, PLAN) if (newest / each).is_file()), "another file")
    found = [path.with_suffix("") for path in newest.glob("*.json") if path.with_suffix("").is_file()]
    if kind not in (SESSION, GRAPH, PLAN) or len(found) != 1:
        raise DefianError(
            f"{newest}: expected a version that defian-edge made, found {kind} without manifest.", ELSEWHERE
        )
    there = read_manifest(found[0], verify=False)
    for what, is_there, is_new in (
        ("file", kind, version.kind),
        ("scale", there.scale, version.manifest.scale),
        ("engine's profile", str(there.profile), str(version.manifest.profile)),
    ):
        if is_there != is_new:
            raise DefianError(
                f"{folder}: expected versions of one kind, found {is_there} as {what} of version {numbers[-1]}, where "
                f"{version.manifest.file} would be {is_new}.",
                ELSEWHERE,
            )
    said = re.search(r"^\s*max_batch_size\s*:\s*(\d+)", config.read_text(encoding="utf-8"), re.MULTILINE)
    before, now = 0 if said is None else int(said[1]), largest_batch(version.options.profile)
    if before > now or bool(before) != bool(now):
        raise DefianError(
            f"{config}: expected max_batch_size of at most {now} for {version.manifest.file}, found {before}.",
            "Export it with the profile of the versions before, or change the configuration.",
        )


def _numbers(folder: Path) -> list[int]:
    """The versions in a model's folder, in order."""
    return sorted(int(each.name) for each in folder.iterdir() if re.fullmatch(r"[1-9][0-9]{0,17}", each.name))


def _add(version: _Version, repository: Path) -> ServedModel:
    """Write a version beside the repository and give it its place by one renaming."""
    folder = repository / version.name
    try:
        with unfinished_folder(repository) as unfinished:
            model, files = unfinished / "model", unfinished / "model" / "1"
            files.mkdir(parents=True)
            for name, content in version.contents.items():
                write_file(files / name, content if isinstance(content, bytes) else content.read_bytes())
            if not folder.exists():
                write_file(model / CONFIG, version.config.encode())
                write_file(model / analyzer.FILE, version.analyzer.encode())
                if _renamed(model, folder):
                    return ServedModel(version.name, 1, folder / "1", version.kind)
            kept = (folder / CONFIG).read_text(encoding="utf-8") != version.config
            number = _take_place(files, folder)
            return ServedModel(version.name, number, folder / str(number), version.kind, config_kept=kept)
    except OSError as error:
        raise cannot_write(folder, error, OPTION) from error


def _take_place(files: Path, folder: Path) -> int:
    """Rename a version's folder to the next number, whoever else adds versions meanwhile."""
    while True:
        number = max(_numbers(folder), default=0) + 1
        if _renamed(files, folder / str(number)):
            return number


def _renamed(folder: Path, place: Path) -> bool:
    """Rename a folder; False if another has taken the place."""
    try:
        folder.rename(place)
    except OSError:
        if not place.exists():
            raise
        return False
    return True
