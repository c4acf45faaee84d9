"""``python -m tools.train``."""

from tools.train.command import main

if __name__ == "__main__":
    main()
