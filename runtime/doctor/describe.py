"""The lines of the page: what was found, area by area, in the words of an engineer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .packages import EXTRAS, extra_of

if TYPE_CHECKING:
    from .facts import Driver, Facts, Gpu, Package

MEBI = 1 << 20
FOR_DEVELOPERS = ("test", "fuzz")
"""Extras of which nothing runs anything on a device."""


def described(facts: Facts) -> list[tuple[str, str]]:
    """Area and text of every line. Areas that findings may name are all here: those of ``AREAS``, and ``gpu N``."""
    machine, jetson = facts.machine, facts.jetson
    python = ".".join(map(str, machine.python))
    where = f"{machine.system} {machine.machine}{', in a container' if machine.container else ''}"
    lines = [("python", f"{python}, {machine.environment}, {machine.executable}; {where}")]
    lines.append(("driver", _driver(facts.driver)))
    lines += [(f"gpu {index}", _gpu(gpu)) for index, gpu in enumerate(facts.gpus)]
    if jetson is not None:
        release = ".".join(map(str, jetson.l4t)) or "unknown"
        mode = f"{jetson.mode[0]} ({jetson.mode[1]})" if jetson.mode else "unknown"
        heat = ", ".join(f"{name} {degrees:.0f} C" for name, degrees in sorted(jetson.temperatures.items()))
        jetpack = f"JetPack {jetson.jetpack}, " if jetson.jetpack else ""
        lines.append(("power", f"{jetson.board}: {jetpack}L4T {release}, mode {mode}{f', {heat}' if heat else ''}"))
    lines += [("packages", text) for text in _packages(facts.packages)]
    cache, media = facts.cache, facts.media
    if cache.there:
        more = " or more" if cache.more else ""
        text = f"{cache.folder}: {cache.files} files{more}, {cache.size / MEBI:.1f} MiB{more}"
    else:
        text = f"{cache.folder}: not made yet" if cache.folder else "none"
    lines.append(("caches", text))
    libraries = f"PyAV with libavcodec {media.libraries}: {', '.join(media.encoders) or 'no encoder'}"
    program = f"program ffmpeg {media.program}: {', '.join(media.program_encoders) or 'no encoder'}"
    absent = "no PyAV: video needs pip install 'defian-edge[video]'"
    if "av" in facts.packages:
        absent = f"PyAV {facts.packages['av'].version}, which was not asked or did not answer"
    told = [libraries if media.libraries else absent]
    lines.append(("video", "; ".join([*told, *([program] if media.program else [])])))
    return lines


def _driver(driver: Driver) -> str:
    if not (driver.kernel or driver.cuda):
        return "none"
    cuda = f"CUDA {driver.cuda[0]}.{driver.cuda[1]}" if driver.cuda else "CUDA unknown"
    return f"{driver.kernel or 'version unknown'}, supports {cuda}"


def _gpu(gpu: Gpu) -> str:
    parts = [gpu.name]
    if gpu.capability is not None:
        parts.append(f"compute capability {gpu.capability[0]}.{gpu.capability[1]}")
    if gpu.total is not None:
        shared = " shared with the CPU" if gpu.unified else ""
        free = f"{gpu.free // MEBI} of " if gpu.free is not None else ""
        parts.append(f"{free}{gpu.total // MEBI} MiB{shared}{' free' if free else ''}")
    if gpu.clock is not None:
        parts.append(f"{gpu.clock:.0f}{f' of {gpu.most_clock:.0f}' if gpu.most_clock else ''} MHz")
    if gpu.power is not None:
        parts.append(f"{gpu.power:.1f}{f' of {gpu.power_limit:.0f}' if gpu.power_limit else ''} W")
    if gpu.temperature is not None:
        parts.append(f"{gpu.temperature:.0f} C")
    if gpu.throttles:
        parts.append(f"held down by {', '.join(gpu.throttles)}")
    return f"{', '.join(parts)} (by {gpu.source})"


def _packages(packages: dict[str, Package]) -> list[str]:
    """A line for each extra that is here, each package once; extras of one package share a line.

    An extra is here if a package is that no smaller extra brings. What developers need is named and not listed.
    """
    lines, single, named, absent = [], [], [], []
    told: set[str] = set()
    for extra, wanted in EXTRAS.items():
        if extra and not any(name in packages and extra_of(name) == extra for name in wanted):
            absent.append(extra)
            continue
        lacking = ", ".join(name for name in wanted if name not in packages)
        new = [name for name in wanted if name in packages and name not in told]
        if extra in FOR_DEVELOPERS or not (new or lacking):
            named.append(f"{extra} (without {lacking})" if lacking else extra)
            continue
        told.update(new)
        text = ", ".join(_package(packages[name]) for name in new)
        text += f"{'; ' if text else ''}not installed: {lacking}" if lacking else ""
        (single if len(wanted) == 1 else lines).append(f"[{extra or 'always'}] {text}")
    known = {name for wanted in EXTRAS.values() for name in wanted}
    others = ", ".join(_package(each) for name, each in packages.items() if name not in known)
    lines += ["; ".join(single)] if single else []
    lines += [f"extras that are here as well: {', '.join(named)}"] if named else []
    lines += [f"beside them {others}"] if others else []
    return [*lines, f"extras that are not here: {', '.join(absent)}"] if absent else lines


def _package(package: Package) -> str:
    return f"{package.name} {package.version}{f' (CUDA {package.cuda})' if package.cuda else ''}"
