"""Finds the network's tensors in what training programs save around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from defian_edge.runtime.errors import DefianError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

FIRST_KEY = "input.weight"
LAST_KEY = "output.weight"
"""Every DeFiAN has these two, and few other networks have both."""
AVERAGED = ("params_ema", "ema", "model_ema", "state_dict_ema", "ema_state_dict")
"""Dicts that are taken before their like: the averaged weights, as BasicSR does."""
OTHER_NETWORK = "Give a checkpoint of DeFiAN in the authors' format, or a bundled name (export.py --list-models)."
MOST_DEEP = 3
MOST_DICTS = 1000


def unwrap(content: object, path: Path) -> dict[str, Tensor]:
    """The network's tensors under the authors' names, out of nested dicts and from behind prefixes.

    ``state_dict``, ``params``, ``model``, ``net_g`` and the like are looked into, whatever they are called; prefixes
    such as ``module.``, ``_orig_mod.``, ``net_g.`` and ``model.`` are taken off. What stands beside a prefixed network
    (losses, counters of averaging) is left; what stands beside an unprefixed one is the network's, and is checked.

    Raises:
        DefianError: there is no DeFiAN, or there are several.
    """
    found = [(name, state) for name, state in _dicts(content) if _ends(state)]
    averaged = [(name, state) for name, state in found if name.rpartition(".")[2] in AVERAGED]
    chosen = averaged or found
    if not chosen:
        raise _nothing(content, path)
    _, state = chosen[0]
    prefixes = _ends(state)
    if len(chosen) > 1 or len(prefixes) > 1:
        names = [name for name, _ in chosen] if len(chosen) > 1 else prefixes
        raise DefianError(
            f"{path}: expected one network, found {len(names)}: {', '.join(map(repr, names[:6]))}.",
            "Save the one that you mean alone: torch.save(state_dict, FILE).",
        )
    [prefix] = prefixes
    return {
        str(key)[len(prefix) :]: _tensor(str(key), value, path)
        for key, value in state.items()
        if str(key).startswith(prefix)
    }


def _dicts(content: object, name: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """The content and the dicts in it, with their names, outermost first."""
    if isinstance(content, dict):
        yield name, content
        if depth < MOST_DEEP:
            for key in list(content)[:MOST_DICTS]:
                yield from _dicts(content[key], f"{name}.{key}" if name else str(key), depth + 1)


def _ends(state: Mapping[Any, Any]) -> list[str]:
    """The prefixes behind which a DeFiAN begins and ends."""
    keys = {key for key, value in state.items() if isinstance(key, str) and isinstance(value, Tensor)}
    first = (key[: -len(FIRST_KEY)] for key in keys if key.endswith(FIRST_KEY))
    return sorted(prefix for prefix in first if (not prefix or prefix.endswith(".")) and prefix + LAST_KEY in keys)


def _tensor(key: str, value: object, path: Path) -> Tensor:
    if not isinstance(value, Tensor):
        raise DefianError(
            f"{path}: expected a tensor under key {key[:80]}, found {type(value).__name__}.", OTHER_NETWORK
        )
    return value


def _nothing(content: object, path: Path) -> DefianError:
    if not isinstance(content, dict):
        said = "a whole pickled network" if hasattr(content, "state_dict") else type(content).__name__
        return DefianError(f"{path}: expected a state dict of tensors, found {said}.", OTHER_NETWORK)
    states = [state for _, state in _dicts(content) if any(isinstance(value, Tensor) for value in state.values())]
    keys = [str(key) for state in states[:1] for key in state] or [str(key) for key in content]
    missing = FIRST_KEY if not any(key.endswith(FIRST_KEY) for key in keys) else LAST_KEY
    return DefianError(
        f"{path}: key {missing}: every DeFiAN has it, found none "
        f"(the file's first key: {keys[0][:80] if keys else 'no keys at all'}).",
        OTHER_NETWORK,
    )
