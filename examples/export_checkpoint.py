"""Export a checkpoint, and print what each precision loses.

python examples/export_checkpoint.py CHECKPOINT OUT [PHOTOS]
"""

import sys
from pathlib import Path

import defian_edge as de


def main(checkpoint: str, out: str, photos: str | None = None) -> int:
    """Export; 0 if every precision kept the budget."""
    options = de.ExportOptions(
        Path(out),
        precisions=(de.Precision.FP32, de.Precision.FP16),
        dataset=None if photos is None else Path(photos),
        max_drift=0.05,
        rewrite_memory=False,  # the compiler's plan after every rewrite makes a table that is not printed here
    )
    result = de.export(checkpoint, options=options, progress=print)
    for precision, report in result.drift.items():
        print(f"{precision}: mean drift {report.mean:.4f} dB, worst {report.worst.drift:.4f} dB on {report.worst.name}")
        print(result.verdicts[precision])
    for path in result.files:
        print(f"wrote {path}")
    print(", ".join(f"{step} {seconds:.1f} s" for step, seconds in result.timings.items()))
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
