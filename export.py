"""Export a DeFiAN checkpoint: ``python export.py --help``. The work is done in the package ``export/``."""

from __future__ import annotations


def main() -> None:
    """Load and run the command; whatever ends it meanwhile ends it properly."""
    from defian_edge.runtime.entry import begin, run_command

    begin()
    run_command("defian_edge.export.command")


if __name__ == "__main__":
    main()
