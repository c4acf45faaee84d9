"""Export a DeFiAN checkpoint: ``python export.py --help``. The work is done in the package ``export/``."""

from export.command import main

if __name__ == "__main__":
    main()
