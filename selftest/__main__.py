"""``python -m selftest``."""

from selftest.command import main

if __name__ == "__main__":
    main()
