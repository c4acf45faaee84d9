"""Feeds mutated checkpoints, manifests and pictures to their readers for some minutes; ``make fuzz``.

Needs atheris (``pip install atheris``), which follows the readers' Python code and keeps what reaches new lines. An
exception other than ``DefianError``, or an input that takes longer than the limit, ends the run and leaves the input in
``build/fuzz``.
"""

from __future__ import annotations

import argparse
import importlib
import io
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defian_edge.runtime.arguments import count_of, path_of
from defian_edge.runtime.entry import printable
from defian_edge.runtime.errors import DefianError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW_SECONDS = 10


def main(arguments: list[str] | None = None) -> None:
    """Run the fuzzer on one reader."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("reader", choices=sorted(READERS))
    parser.add_argument("--seconds", type=count_of("--seconds", 1), default=300)
    out = path_of("--out")
    parser.add_argument("--out", type=out, default=Path("build/fuzz"), help="inputs that were kept, and findings")
    try:
        options = parser.parse_args(arguments)
    except DefianError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        raise SystemExit(2) from error
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError as error:
        print(f"error: {MissingPackageError('atheris', 'fuzz', 'make fuzz')}", file=sys.stderr)
        raise SystemExit(2) from error
    import torch  # noqa: F401 - as it is: following all of it would slow every input

    with atheris.instrument_imports(include=["defian_edge.models", "defian_edge.runtime", "PIL"]):
        read, seeds = READERS[options.reader]()
    corpus = options.out / options.reader
    corpus.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds):
        (corpus / f"seed{index}").write_bytes(seed)
    folder = tempfile.mkdtemp()

    def one(data: bytes) -> None:
        with suppress(DefianError):
            read(Path(folder), data)

    flags = [f"-max_total_time={options.seconds}", f"-timeout={SLOW_SECONDS}", "-rss_limit_mb=4096", "-max_len=1048576"]
    atheris.Setup([sys.argv[0], *flags, f"-artifact_prefix={options.out}/", str(corpus)], one)
    atheris.Fuzz()


def _checkpoints() -> tuple[Callable[[Path, bytes], object], list[bytes]]:
    import safetensors.torch
    import torch

    from defian_edge.models.checkpoint import load_checkpoint
    from defian_edge.models.defian import Architecture, DeFiAN

    state = DeFiAN(Architecture(16, 1, 1, 2)).state_dict()
    seeds = [safetensors.torch.save(state)]
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save({"state_dict": state, "epoch": 3}, buffer, _use_new_zipfile_serialization=zipped)
        seeds.append(buffer.getvalue())

    def read(folder: Path, data: bytes) -> object:
        path = folder / "c.pth"
        path.write_bytes(data)
        return load_checkpoint(path)

    return read, seeds


def _manifests() -> tuple[Callable[[Path, bytes], object], list[bytes]]:
    from defian_edge.runtime.manifest import EngineFacts, Manifest, manifest_path, read_manifest
    from defian_edge.runtime.profile import ShapeProfile

    facts = EngineFacts("tensorrt", "10.3.0", "8.7", 1, None, 1, 1.0, 1)
    profile = ShapeProfile.parse("1x64x64")
    with tempfile.TemporaryDirectory() as folder:
        made = Manifest("g.onnx", "0", "m", 2, "fp32", "uint8", "0", "c", profile=profile, engine=facts)
        seeds = [made.write(Path(folder)).read_bytes()]

    def read(folder: Path, data: bytes) -> object:
        path = folder / "g.onnx"
        path.touch()
        manifest_path(path).write_bytes(data)
        return read_manifest(path, verify=False)

    return read, seeds


def _pictures() -> tuple[Callable[[Path, bytes], object], list[bytes]]:
    import numpy as np
    from PIL import Image

    from defian_edge.runtime import decoding
    from defian_edge.runtime.images import opened_series, read_photo, series_kind

    decoding.MOST_PIXELS = 1 << 20  # what a bomb costs is known; here it would only cost time
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (9, 14, 3), np.uint8)) for _ in range(3)]
    seeds = []
    for kind in ("PNG", "GIF", "WEBP", "TIFF", "JPEG", "BMP", "PPM", "JPEG2000"):
        buffer = io.BytesIO()
        series = {"save_all": True, "append_images": frames[1:]} if kind in ("PNG", "GIF", "WEBP", "TIFF") else {}
        frames[0].save(buffer, kind, **series)
        seeds.append(buffer.getvalue())
    deep = io.BytesIO()
    Image.fromarray(rng.integers(0, 65536, (9, 14), np.uint16)).save(deep, "TIFF")

    def read(folder: Path, data: bytes) -> None:
        path = folder / "p"
        path.write_bytes(data)
        if series_kind(path):
            with opened_series(path) as series:
                for _ in zip(range(64), series.frames, strict=False):
                    pass
        read_photo(path)

    return read, [*seeds, deep.getvalue()]


READERS = {"checkpoint": _checkpoints, "manifest": _manifests, "picture": _pictures}


if __name__ == "__main__":
    main()
