"""``python -m selftest``."""

from __future__ import annotations


def main() -> None:
    """Load and run the command; whatever ends it meanwhile ends it properly."""
    from runtime.entry import begin

    begin()
    from selftest.command import main as run

    run()


if __name__ == "__main__":
    main()
