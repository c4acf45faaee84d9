"""``python -m selftest``."""

from defian_edge.selftest.command import main

if __name__ == "__main__":
    main()
