"""What keeps two results from being compared: other machines, programs, images, tiles, shapes or artefacts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

COMPARED = ("cpu", "cores", "board", "power_mode")
COMPARED_PARTS = {
    "gpu": ("name", "driver_version", "power.limit", "clocks.max.sm", "clocks.max.mem"),
    "threads": ("torch", "onnxruntime", "OMP_NUM_THREADS"),
    "packages": None,
}
"""Parts of the environment that are compared one by one; a GPU's clocks and heat at that moment are none of them."""
OF_CANDIDATES = ("model", "precision", "backend")
SAME_REFERENCE = 1e-3
"""dB by which one checkpoint may differ between machines."""


def other_conditions(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Sentences on what differs between two results and on what is therefore not compared."""
    return [
        *_environments(old["environment"], new["environment"]),
        *_only_in_one("artefacts", _names(old), _names(new)),
        *_only_in_one("shapes", old["shapes"], new["shapes"]),
        *_candidates(old, new),
        *_memory_shapes(old, new),
        *_pictures(old, new),
    ]


def same_pictures(old: dict[str, Any], new: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether a candidate's drift was measured on the same pictures and against the same reference in both."""
    if not (one["drift"] and other["drift"]) or old["images_sha256"] != new["images_sha256"]:
        return False
    return _same_reference(one["drift"]["images"], other["drift"]["images"])


def same_tiles(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether both measured tile drift in tiles of one size and overlap."""
    return bool(old["tiles"]) and old["tiles"] == new["tiles"]


def largest(shapes: Sequence[str]) -> str:
    """The shape with the most pixels, which memory is measured at."""
    return max(shapes, key=lambda shape: math.prod(map(int, shape.split("x"))))


def _same_reference(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> bool:
    """The reference's own PSNR on each picture tells whether it is the same network."""
    before, now = (
        sorted(math.inf if i["reference_psnr"] is None else i["reference_psnr"] for i in e) for e in (old, new)
    )
    return len(before) == len(now) and all(
        math.isclose(one, other, rel_tol=0.0, abs_tol=SAME_REFERENCE) for one, other in zip(before, now, strict=True)
    )


def _names(result: dict[str, Any]) -> list[str]:
    return [each["name"] for each in result["candidates"]]


def _environments(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    for name in COMPARED:
        yield from _differs(name, before.get(name), now.get(name))
    for name, parts in COMPARED_PARTS.items():
        old, new = before.get(name), now.get(name)
        if not old or not new:
            yield from _differs(name, (old or {}).get("name") or bool(old), (new or {}).get("name") or bool(new))
            continue
        for part in parts or dict.fromkeys([*old, *new]):
            yield from _differs(f"{name} {part}", old.get(part), new.get(part))


def _differs(what: str, before: object, now: object) -> Iterator[str]:
    if before != now:
        old, new = ("none" if each in (None, "", False) else each for each in (before, now))
        yield f"{what} differs: {old} before, {new} now."


def _only_in_one(what: str, before: Iterable[str], now: Iterable[str]) -> Iterator[str]:
    old, new = list(before), list(now)
    for names, when in (([n for n in old if n not in new], "before"), ([n for n in new if n not in old], "now")):
        if names:
            yield f"{what} only {when}: {', '.join(names)}."


def _candidates(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before = {each["name"]: each for each in old["candidates"]}
    for each in new["candidates"]:
        for field in OF_CANDIDATES if each["name"] in before else ():
            yield from _differs(f"{each['name']}: {field}", before[each["name"]][field], each[field])


def _memory_shapes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before, now = largest(old["shapes"]), largest(new["shapes"])
    if before != now and all(any(each["memory"] for each in result["candidates"]) for result in (old, new)):
        yield f"memory is not compared: it was measured at {before} before, at {now} now."


def _pictures(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    before, now = old["images"] or "none", new["images"] or "none"
    if old["images_sha256"] != new["images_sha256"]:
        yield f"the images differ, so drift is not compared: {before} before, {now} now."
        return
    ours = {each["name"]: each for each in old["candidates"]}
    for each in new["candidates"]:
        one = ours.get(each["name"])
        if one and one["drift"] and each["drift"] and not same_pictures(old, new, one, each):
            yield f"{each['name']}: the reference differs, so its drift is not compared."
    if old["tiles"] != new["tiles"]:
        tiles = old["tiles"] or "none", new["tiles"] or "none"
        yield f"the tiles differ, so tile drift is not compared: {tiles[0]} before, {tiles[1]} now."
