"""Graphs and engines to be served: a small network's graph as it is exported, and files with made-up manifests."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from PIL import Image

from defian_edge.export.options import ExportOptions
from defian_edge.export.pipeline import run_export
from defian_edge.export.precision import Precision
from defian_edge.runtime.manifest import EngineFacts, Manifest
from defian_edge.runtime.profile import ShapeProfile
from tests.conftest import noise, random_checkpoint, tiny

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = "1x8x8,1x16x24,4x32x40"


def small_graph(folder: Path, seed: int = 0) -> Path:
    """The FP32 graph of a small random network, ``small.fp32.onnx``, with its manifest and reference pack."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    Image.fromarray(noise(70, 80, 3)).save(photos / "one.png")
    options = ExportOptions(
        out=folder,
        precisions=(Precision.FP32,),
        profile=ShapeProfile.parse(PROFILE),
        rewrite_memory=False,
        reference_size=1.0,
        name="small",
        dataset=photos,
    )
    [artefact] = run_export(random_checkpoint(tiny(), seed), options).artefacts
    return artefact.files[0]


def made_up(folder: Path, file: str, flavour: str = "", **facts: Any) -> Path:  # noqa: ANN401 - a manifest's fields
    """A file of a few bytes with a manifest that fits it; of an engine if there is a flavour."""
    folder.mkdir(parents=True, exist_ok=True)
    content = file.encode()
    (folder / file).write_bytes(content)
    engine = EngineFacts(flavour, "10.16.1", "8.9", 1, 1, 1, 1.0, 1) if flavour else None
    profile = ShapeProfile.parse(PROFILE) if flavour else None
    given = {"precision": "fp16", "engine": engine, "profile": profile} | facts
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = Manifest(
        file, sha256, model="net", scale=2, io=given.pop("io", "uint8"), checkpoint_sha256="0", command="c", **given
    )
    manifest.write(folder)
    return folder / file
