"""``int()`` of a size that is not known yet, while a network is traced.

``int(windows.shape[0] / (height * width / size / size))`` is how SwinIR and most networks with windows find the number
of images again. Python's ``int`` gives a number, so that torch.export keeps the one of the example; a reshape with a -1
takes any other number of images silently then, and mixes up their pixels. ``torch.sym_int`` is the same for sizes that
stay open, and stands in for ``int`` in the network's own code for as long as the trace takes.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

NAME = "int"
LEFT_ALONE = frozenset({"torch", "numpy", "builtins", *sys.stdlib_module_names}) - {"__main__"}
"""Packages whose code stays as it is: torch knows its own sizes."""
DECORATED = (staticmethod, classmethod, property)
WRAPPED = ("__wrapped__", "__func__", "fget")
"""Where a decorator, a static or class method and a property keep the function."""


class _IsInt(type):
    """So that ``isinstance(x, int)`` stays what it was, and what ``int`` gave is one."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, (int, torch.SymInt))

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
    """The globals of all code that says ``int``: methods of the modules, and what they name, and so on."""
    found: dict[int, dict[str, Any]] = {}
    seen: set[int] = set()
    waiting: list[object] = list({each for block in network.modules() for each in type(block).__mro__})
    while waiting:
        value = waiting.pop()
        if id(value) in seen or str(getattr(value, "__module__", "")).partition(".")[0] in LEFT_ALONE:
            continue
        seen.add(id(value))
        if isinstance(value, type):
            waiting.extend(vars(value).values())
        elif isinstance(value, FunctionType):
            names = set(_names(value.__code__))
            if NAME in names:
                found[id(value.__globals__)] = value.__globals__
            waiting.extend(_named(value.__globals__, names))
        elif not (callable(value) or isinstance(value, DECORATED)):
            continue  # an object that makes up every attribute that it is asked for would never end
        waiting.extend(getattr(value, each) for each in WRAPPED if getattr(value, each, None) is not None)
    return list(found.values())


def _names(code: CodeType) -> Iterator[str]:
    """Globals and attributes that code names, that of functions inside it too."""
    yield from code.co_names
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _names(each)


def _named(namespace: dict[str, Any], names: set[str]) -> Iterator[object]:
    """What of these names a namespace has; of a module, what it has of them in turn."""
    for name in names & namespace.keys():
        value = namespace[name]
        if isinstance(value, ModuleType):
            if value.__name__.partition(".")[0] not in LEFT_ALONE:
                yield from (each for key, each in vars(value).items() if key in names)
        else:
            yield value
