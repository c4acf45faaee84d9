"""``python -m runtime``: the command line is in ``command.py``, whose packages take a moment to load.

The doctor is handed over before that, since it can tell that one of these packages is missing or does not load.
"""

from __future__ import annotations

import sys

from .entry import asks_for, begin

DOCTOR = "doctor"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; see ``command.main`` and ``doctor/command.py``."""
    given = sys.argv[1:] if arguments is None else arguments
    if asks_for(DOCTOR, given):
        from .doctor.command import main as doctor

        doctor(given[1:])
    from .command import main as run

    run(arguments)


if __name__ == "__main__":
    begin()
    main()
