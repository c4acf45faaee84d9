"""A gate for continuous integration: does what was built still give PyTorch's pictures?

python examples/drift_gate.py CANDIDATE CHECKPOINT PHOTOS ends with status 1 and the reasons if it does not.
"""

import sys
from pathlib import Path

import defian_edge as de

BUDGET = de.DriftBudget(drift=0.05, mean_drift=0.02, psnr_to_reference=45.0)
"""dB that any photo may lose, that they may lose in the mean, and that any must have to PyTorch's picture."""


def main(candidate: str, checkpoint: str, photos: str) -> int:
    """Measure and judge."""
    scale = de.read_manifest(Path(candidate)).scale
    report = de.measure_drift(candidate, checkpoint, de.evaluation_pairs(scale, Path(photos)))
    verdict = report.verdict(BUDGET)
    print(f"{len(report.images)} photos: mean {report.mean:.4f} dB, worst {report.worst.drift:.4f} dB")
    print(verdict)
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
