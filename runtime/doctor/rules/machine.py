"""Python, the caches, and what video needs."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ...video_encoder import Encoding
from .rule import Rule, Verdict, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..facts import Facts

LEAST_PYTHON, FIRST_UNTRIED = (3, 10), (3, 14)
"""pyproject.toml, requires-python."""
PROBE = "python -X faulthandler -m defian_edge.runtime.doctor.probe"
"""A question: it shows where the process ends."""
ENCODER = Encoding.codec
"""What videos are written with unless another is asked for."""


def python_version(facts: Facts) -> Iterator[Verdict]:
    """A Python that the package is for."""
    found = facts.machine.python
    if not LEAST_PYTHON <= found[:2] < FIRST_UNTRIED:
        said = ".".join(map(str, found))
        text = f"Expected Python 3.10 to 3.13, found {said}."
        yield red("python", text, "python3.12 -m venv venv && venv/bin/pip install defian-edge")


def child_processes(facts: Facts) -> Iterator[Verdict]:
    """A child process that starts: it asks what is native."""
    if "start" in facts.crashes:
        text = f"The process that asks NVML, driver, pycuda and PyAV does not start: {facts.crashes['start']}."
        yield red("python", text, PROBE)


def cache_rights(facts: Facts) -> Iterator[Verdict]:
    """A cache that can be written, and that nobody else can."""
    cache = facts.cache
    if not cache.folder:
        text = "There is no home folder to keep a cache in: what TensorRT-RTX and NVRTC compile is compiled each time."
        yield yellow("caches", text, "export DEFIAN_CACHE=/var/cache/defian-edge")
        return
    quoted = shlex.quote(cache.folder)
    for doubt in cache.doubts:
        if "others may write it" in doubt:
            cure = f"chmod -R go-w {quoted}"
        elif "cannot be made" in doubt or "no folder" in doubt:
            cure = 'export DEFIAN_CACHE="$HOME/defian-cache"'
        else:
            cure = f'sudo chown -R "$(id -u)" {quoted}'
        yield yellow("caches", f"What is kept there is not believed, and made anew each time: {doubt}.", cure)


def video_libraries(facts: Facts) -> Iterator[Verdict]:
    """A PyAV that loads and can write H.264."""
    media = facts.media
    if media.error:
        text = f"PyAV is installed and does not load: {media.error}."
        yield red("video", text, "pip install --force-reinstall --no-deps 'av>=14'")
    elif media.libraries and ENCODER not in media.encoders:
        text = f"PyAV's FFmpeg has no encoder {ENCODER}, with which videos are written."
        yield red("video", text, "pip install --force-reinstall --no-deps --only-binary av 'av>=14'")


MACHINE_RULES = (
    Rule("python-version", "pyproject.toml", python_version),
    Rule("child-processes", "runtime/doctor/steps.py", child_processes),
    Rule("cache-rights", "runtime/cache.py", cache_rights),
    Rule("video-libraries", "runtime/video.py; https://pyav.basswood-io.com/docs/stable/", video_libraries),
)
