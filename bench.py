"""Benchmark checkpoints, graphs and engines: ``python bench.py --help``. The work is done in ``benchmark/``."""

from defian_edge.benchmark.command import main

if __name__ == "__main__":
    main()
