"""``python -m runtime``: the command line is in ``command.py``, whose packages take a moment to load."""

from __future__ import annotations

from .entry import begin


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see ``command.main``."""
    from .command import main as run

    run(arguments)


if __name__ == "__main__":
    begin()
    main()
