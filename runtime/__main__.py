"""Command line of the runtime: ``python -m runtime PHOTO... --engine FILE --out DIR``."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from runtime.errors import DefianError
from runtime.files import require_writable_folder
from runtime.images import images_in, read_image, write_png
from runtime.onnx_session import PROVIDERS
from runtime.session import open_session


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with 0, 1 (an image failed) or 2 (bad usage or input)."""
    sys.exit(_run(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m runtime", description="Upscale photos with an exported network.")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="photos, or folders of photos")
    parser.add_argument("--engine", required=True, type=Path, help="a .onnx file built by export.py")
    parser.add_argument("--out", required=True, type=Path, help="folder for the upscaled PNG files")
    parser.add_argument("--provider", default="cpu", choices=sorted(PROVIDERS), help="what runs a .onnx file")
    return parser


def _run(options: argparse.Namespace) -> int:
    failed = 0
    try:
        targets = _targets(options.inputs, options.out)
        require_writable_folder(options.out)
        with open_session(options.engine, options.provider) as session:
            print(session.describe())
            for source, target in targets:
                try:
                    start = time.monotonic()
                    upscaled = session(read_image(source)[None])[0]
                    seconds = time.monotonic() - start
                    write_png(target, upscaled)
                    print(f"{source} -> {target} ({upscaled.shape[1]}x{upscaled.shape[0]}, {seconds:.2f} s)")
                except DefianError as error:
                    if len(targets) == 1:
                        raise
                    failed += 1
                    print(f"{source}: {error}", file=sys.stderr)
    except DefianError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if failed:
        print(f"{failed} of {len(targets)} images failed", file=sys.stderr)
    return 1 if failed else 0


def _targets(inputs: list[Path], out: Path) -> list[tuple[Path, Path]]:
    """Every photo with the PNG it becomes; a folder's structure is kept.

    Raises:
        DefianError: an input is missing, or two photos would become the same file.
    """
    pairs: list[tuple[Path, Path]] = []
    for source in inputs:
        if source.is_dir():
            pairs += [(path, out / path.relative_to(source).with_suffix(".png")) for path in images_in(source)]
        elif source.is_file():
            pairs.append((source, out / f"{source.stem}.png"))
        else:
            raise DefianError(f"No photo or folder at {source}.")
    seen: dict[Path, Path] = {}
    for source, target in pairs:
        if target in seen:
            raise DefianError(f"{seen[target]} and {source} would both become {target}.", "Use two --out folders.")
        seen[target] = source
    return pairs


if __name__ == "__main__":
    main()
