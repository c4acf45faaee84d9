"""One command for everything: ``python defian.py --help``. The work is done in ``defian_edge/__main__.py``."""

from defian_edge.__main__ import entry

if __name__ == "__main__":
    entry()
