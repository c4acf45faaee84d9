"""How many parts of a network must leave a low precision to keep a budget: few trials, each of them measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

T = TypeVar("T")


def fewest_left_out(
    order: Sequence[str], again: Collection[str], tried: Callable[[Sequence[str]], tuple[T, bool]]
) -> T:
    """What a trial gives with as many parts in the low precision as were found to keep the budget.

    How many must leave it, in their order, is found by bisection. Then each of them that is in ``again`` is taken in
    once more, the last first, and stays if the budget still holds. Drift need not grow with the parts, so that no short
    search is sure to find the most of all; but to this one none of those that were tried could be added.

    Args:
        order: all parts, the one that is to leave first in front. It is known that they cannot all stay.
        again: parts that keep the budget alone.
        tried: parts in the low precision -> what comes of it, and whether that keeps the budget. It runs at most
            ``2 + log2(len(order)) + len(again)`` times.

    Returns:
        What comes of none at all where nothing keeps the budget.
    """
    fits, fails = len(order), 0
    best, _ = tried(())
    while fits - fails > 1:
        middle = (fits + fails) // 2
        result, passed = tried(order[middle:])
        if passed:
            fits, best = middle, result
        else:
            fails = middle
    kept = list(order[fits:])
    left_out = order[: fits - 1]  # the one at fits - 1 has just failed
    for part in [part for part in reversed(left_out) if part in again]:
        result, passed = tried([*kept, part])
        if passed:
            kept, best = [*kept, part], result
    return best
