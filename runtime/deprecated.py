"""Names that have moved: the old ones live to the end of one minor version, and warn of the new one.

A module keeps old names like this::

    __getattr__ = renamed(__name__, {"OldName": Deprecated("defian_edge.runtime.tiling", "Tiling", last="0.2")})

``tests/test_habits.py`` fails as soon as the version is above ``last``, so that no old name is forgotten.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PACKAGE = (__package__ or "").removesuffix("runtime")
"""What stands before a room's name: ``defian_edge.``, or nothing where ``runtime/`` runs alone."""


@dataclass(frozen=True)
class Deprecated:
    """Where an old name's thing is now.

    Attributes:
        module: by its whole name, such as ``defian_edge.runtime.session``.
        name: the new name.
        last: the last minor version, such as ``0.2``, in which the old name works.
    """

    module: str
    name: str
    last: str


def renamed(module: str, names: Mapping[str, Deprecated]) -> Callable[[str], object]:
    """A ``__getattr__`` for a module some of whose names have moved.

    Args:
        module: the module's own ``__name__``.
        names: old name -> where it is now.

    Returns:
        A function that gives the thing and warns with ``DeprecationWarning`` at the caller's line; for every other
        name it raises ``AttributeError``, as a module does.
    """

    def find(name: str) -> object:
        moved = names.get(name)
        if moved is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place = moved.module if PACKAGE else moved.module.removeprefix("defian_edge.")
        warnings.warn(
            f"{module}.{name} is {place}.{moved.name} now; the old name goes after version {moved.last}.",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(place), moved.name)

    return find
