"""Which names of TensorRT our code uses, read from its source.

Expressions are followed from a TensorRT module on: through attributes, calls, local variables, fields, loops and
subclasses. Where an object comes in through a parameter, ``PARAMETERS`` says what it is. ``unexplained`` finds
attributes that look like TensorRT's and could not be followed, so that nothing is left out unnoticed.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MODULES = ("trt", "tensorrt", "tensorrt_rtx")
EITHER = "|"
"""Joins classes of which one must have the member: a subclass of several does not say whose method it overrides."""
RESULTS = {
    "Runtime.deserialize_cuda_engine": "ICudaEngine",
    "ICudaEngine.create_execution_context": "IExecutionContext",
    "ICudaEngine.create_runtime_config": "IRuntimeConfig",
    "IRuntimeConfig.create_runtime_cache": "IRuntimeCache",
    "get_plugin_registry": "IPluginRegistry",
    "Builder.create_network": "INetworkDefinition",
    "INetworkDefinition.get_layer": "ILayer",
    "INetworkDefinition.get_input": "ITensor",
    "Builder.create_builder_config": "IBuilderConfig",
    "Builder.create_optimization_profile": "IOptimizationProfile",
    "OnnxParser.get_error": "ParserError",
}
"""What calls give that are not constructors."""
ELEMENTS = {"IPluginRegistry.all_creators": "IPluginCreatorV3One"}
PARAMETERS = {
    "trt_engine.py": {"context": "IExecutionContext"},
    "rtx.py": {"engine": "ICudaEngine"},
    "build.py": {"builder": "Builder", "network": "INetworkDefinition"},
    "hessian_plugin.py": {
        "described": "PluginTensorDesc",
        "exprBuilder": "IExprBuilder",
        "features": "PluginTensorDesc",
        "here": "PluginTensorDesc",
        "in_out[0]": "DynamicPluginTensorDesc",
        "in_out[position]": "DynamicPluginTensorDesc",
    },
}
"""By file: what objects are that the source does not tell."""
MIXINS = {
    "hessian_plugin.py": {"Behaviour": ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild", "IPluginV3OneRuntime")}
}
"""By file: classes that are mixed into subclasses of TensorRT's."""
FIELDS_OF_OURS = {"trt", "nothing_to_serialize", "kernels"}
"""Fields of such classes that TensorRT does not ask for."""


class _Reader:
    """Follows one file; ``names`` are the dotted names used, ``followed`` the attributes that were understood."""

    def __init__(self, path: Path) -> None:
        self.tree = ast.parse(path.read_text(encoding="utf-8"))
        self.names: set[str] = set()
        self.followed: set[ast.Attribute] = set()
        self._parameters = PARAMETERS.get(path.name, {})
        self._known: dict[str, str] = dict(self._parameters)
        self._mixins = MIXINS.get(path.name, {})

    def read(self) -> None:
        before = -1
        while before != len(self._known):  # fields are used in methods above the one that sets them
            before = len(self._known)
            for node in ast.walk(self.tree):
                self._learn(node)
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute):
                self._type_of(node)
            elif isinstance(node, ast.ClassDef):
                self._overrides(node)
        self.names = {name for name in self.names if not any(other.startswith(f"{name}.") for other in self.names)}

    def _learn(self, node: ast.AST) -> None:
        for target, value in _assigned(node):
            found = self._type_of(value)
            if found:
                self._known.setdefault(ast.unparse(target), found)
        if isinstance(node, ast.For | ast.comprehension):
            found = ELEMENTS.get(self._type_of(node.iter) or "")
            if found:
                self._known.setdefault(ast.unparse(node.target), found)

    def _type_of(self, value: ast.expr) -> str | None:
        """The class of an expression, or the dotted name of what it is; "" for a TensorRT module, None for others."""
        text = ast.unparse(value)
        if text.split(".")[-1].lstrip("_") in MODULES and isinstance(value, ast.Name | ast.Attribute):
            return ""
        if isinstance(value, ast.Call):
            called = self._type_of(value.func)
            return RESULTS.get(called, called) if called and _is_type(RESULTS.get(called, called)) else None
        if isinstance(value, ast.Attribute) and text not in self._known:
            owner = self._type_of(value.value)
            if owner is None or value.attr.startswith("__"):
                return None
            name = f"{owner}.{value.attr}" if owner else value.attr
            self.names.add(name)
            self.followed.add(value)
            return name
        if isinstance(value, ast.Attribute):
            self.followed.add(value)
        return self._known.get(text)

    def _overrides(self, node: ast.ClassDef) -> None:
        bases = self._mixins.get(node.name) or [self._type_of(base) for base in node.bases]
        owners = EITHER.join(base for base in bases if base)
        if not owners:
            return
        for part in ast.walk(node):
            if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                self.names.add(f"{owners}.{part.name}")
            if isinstance(part, ast.Attribute) and _is_own_field(part):
                self.names.add(f"{owners}.{part.attr}")
                self.followed.add(part)


def _is_own_field(node: ast.Attribute) -> bool:
    is_set = isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self"
    return is_set and node.attr not in FIELDS_OF_OURS


def _assigned(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(target.elts, node.value.elts, strict=True)
            else:
                yield target, node.value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        yield node.target, node.value


def _is_type(name: str) -> bool:
    return name.rpartition(".")[2][:1].isupper()


def python_files(paths: Iterable[Path]) -> list[Path]:
    """The files, and those below the folders."""
    return sorted(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))


def names_used(paths: Iterable[Path]) -> set[str]:
    """Dotted names that Python files ask of a TensorRT module: ``TensorFormat.HWC8``, ``Builder.create_network``.

    A name ``A|B.member`` is a member of A or of B. Folders are searched.
    """
    names: set[str] = set()
    for file in python_files(paths):
        reader = _Reader(file)
        reader.read()
        names |= reader.names
    return names


def unexplained(paths: Iterable[Path], members: set[str], common: set[str]) -> dict[str, set[str]]:
    """Attributes by file that are members of a TensorRT class by their name, and could not be followed.

    Args:
        paths: files and folders that talk to TensorRT.
        members: names of the members of all classes of all versions.
        common: names among them that other objects have as well, and that no call to TensorRT goes through.
    """
    found: dict[str, set[str]] = defaultdict(set)
    for file in python_files(paths):
        reader = _Reader(file)
        reader.read()
        for node in ast.walk(reader.tree):
            if isinstance(node, ast.Attribute) and node not in reader.followed and node.attr in members - common:
                found[file.name].add(ast.unparse(node))
    return dict(found)
