"""``int()`` of a size that is not known yet, while a network is traced.

``int(windows.shape[0] / (height * width / size / size))`` is how SwinIR and most networks with windows find the number
of images again. Python's ``int`` gives a number, so that torch.export keeps the one of the example; a reshape with a -1
takes any other number of images silently then, and mixes up their pixels. ``torch.sym_int`` is the same for sizes that
stay open, and stands in for ``int`` in the network's own code for as long as the trace takes.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

NAME = "int"
LEFT_ALONE = frozenset({"torch", "numpy", "builtins", *sys.stdlib_module_names}) - {"__main__"}
"""Packages whose code stays as it is: torch knows its own sizes."""


class _IsInt(type):
    """So that ``isinstance(x, int)`` stays what it was."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, int)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, int)


class SymbolicInt(int, metaclass=_IsInt):
    """``int``, which leaves a size open that is open."""

    def __new__(cls, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - as int, and a SymInt besides
        if len(arguments) == 1 and isinstance(arguments[0], (torch.SymInt, torch.SymFloat)):
            return torch.sym_int(arguments[0])
        return int(*arguments, **options)


@contextmanager
def open_integers(network: nn.Module) -> Iterator[None]:
    """Let ``int`` be :class:`SymbolicInt` in the code of a network's modules, and in what that code calls."""
    changed = [names for names in _namespaces(network) if NAME not in names]
    for names in changed:
        names[NAME] = SymbolicInt
    try:
        yield
    finally:
        for names in changed:
            names.pop(NAME, None)


def _namespaces(network: nn.Module) -> list[dict[str, Any]]:
    """The globals of the methods of all modules, and of the functions and modules that they name in turn."""
    found: dict[int, dict[str, Any]] = {}
    classes = {each for block in network.modules() for each in type(block).__mro__}
    waiting = [value for each in classes for value in list(vars(each).values())]
    while waiting:
        value = waiting.pop()
        if isinstance(value, FunctionType):
            names = value.__globals__
        elif isinstance(value, ModuleType):
            names = vars(value)
        else:
            continue
        if id(names) in found or str(names.get("__name__", "")).partition(".")[0] in LEFT_ALONE:
            continue
        found[id(names)] = names
        waiting.extend(list(names.values()))
    return list(found.values())
