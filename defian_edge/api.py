"""Export a network and measure what a candidate costs: the functions of the package that need more than the runtime.

They are defined apart from what they do, so that they can be imported anywhere in no time; PyTorch and onnx are
imported when they are called.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from defian_edge.runtime.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from defian_edge.calibration.drift.report import DriftReport
    from defian_edge.calibration.photos import EvaluationPair
    from defian_edge.export.artefacts import ExportResult
    from defian_edge.export.options import ExportOptions
    from defian_edge.export.source.opening import Source
    from defian_edge.runtime.backends import Backend
    from defian_edge.runtime.interface import Session

COMMAND = "defian_edge.export()"
"""What a manifest says made its file, where nothing else is said."""


def export(
    network: Source,
    *,
    options: ExportOptions,
    scale: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ExportResult:
    """Export a network to graphs and engines with a measured drift.

    Args:
        network: a DeFiAN by its bundled name or the path of a ``.pth`` or ``.safetensors`` file; any super-resolution
            network as a FP32 ``.onnx`` file, or as a ``torch.nn.Module`` that takes and gives pictures
            [N, C, H, W]. A module with DeFiAN's state-dict names is one.
        options: what to make, and where to put it.
        scale: that the network is expected to have; None for the one that is found by running it.
        progress: told what is being done, one short line at a time.

    Returns:
        ``files`` that were written, ``drift`` and ``verdicts`` of every precision, ``timings`` of the steps in seconds,
        and ``passed``, whether every precision was accepted. What was not is not written.

    Raises:
        DefianError: an input is missing or unusable. All inputs are looked at before the work starts, and nothing is
            written before everything is measured and built.
    """
    with needing_extra("export", "defian_edge.export()"):
        from defian_edge.export.pipeline import run_export
    from dataclasses import replace

    asked = replace(options, command=options.command or COMMAND, scale=options.scale if scale is None else scale)
    return run_export(network, asked, progress)


def measure_drift(
    candidate: Path | str | Session | Source,
    reference: Source,
    pairs: Sequence[EvaluationPair],
    *,
    backend: Backend | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> DriftReport:
    """What a candidate loses against the PyTorch FP32 network, as export.py and bench.py measure it.

    A graph that no ``backend`` is given for runs on the CPU with every FP16 tensor rounded as on a device, which ONNX
    Runtime alone would not do. Everything else runs as it is. Beside the photos all of it runs on hard images, on which
    low precision goes wrong first.

    Args:
        candidate: path of a graph or engine, its manifest beside it; an open session; or another network, as
            ``reference``.
        reference: bundled name, path of a checkpoint, or a network that is loaded.
        pairs: photos, as :func:`defian_edge.evaluation_pairs` makes them.
        backend: how a graph or engine is run; see :func:`defian_edge.open_session`.
        progress: told what is being done, one short line at a time.

    Returns:
        PSNR-Y, SSIM-Y and drift of every photo, and ``verdict(budget)`` on all of it.

    Raises:
        DefianError: the candidate cannot be run here, or is of another scale; a pair does not fit the scale; there is
            none.
    """
    with needing_extra("export", "defian_edge.measure_drift()"):
        from defian_edge.export.drift import drift_of

        return drift_of(candidate, reference, pairs, backend, progress)


@contextmanager
def needing_extra(extra: str, what: str) -> Iterator[None]:
    """Says what to install where a package of an extra is missing.

    Raises:
        MissingPackageError: a package that is none of this project's cannot be imported.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "defian_edge":
            raise
        raise MissingPackageError(error.name.partition(".")[0], extra, what) from error
