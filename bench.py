"""Benchmark checkpoints, graphs and engines: ``python bench.py --help``. The work is done in ``benchmark/``."""

from __future__ import annotations


def main() -> None:
    """Load and run the command; whatever ends it meanwhile ends it properly."""
    from defian_edge.runtime.entry import begin, run_command

    begin()
    run_command("defian_edge.benchmark.command")


if __name__ == "__main__":
    main()
