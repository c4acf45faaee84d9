"""Export a DeFiAN checkpoint: ``python export.py --help``. The work is done in the package ``export/``."""

from defian_edge.export.command import main

if __name__ == "__main__":
    main()
