"""A ``pynvml`` module in which one GPU is made up. Functions and constants are checked against the real package's.

The real module is nvidia-ml-py's, which imports without a driver; a name that it lacks cannot be set here.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import create_autospec

import pynvml

if TYPE_CHECKING:
    from collections.abc import Callable


def made_up_nvml(**answers: Any) -> Any:  # noqa: ANN401
    """The module; ``answers`` replace or add to what the GPU says, by function name without ``nvmlDeviceGet``.

    An answer that is callable is asked each time; an exception is raised. What has no answer is not supported.
    """
    module = create_autospec(pynvml)
    module.NVMLError = pynvml.NVMLError
    module.NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    for name in dir(pynvml):
        if name.startswith("nvmlDeviceGet"):
            getattr(module, name).side_effect = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    given = {"HandleByIndex": "handle", "Name": "Made-up 4000", "UUID": "GPU-1234"} | answers
    for name, answer in given.items():
        function = getattr(module, f"nvmlDeviceGet{name}")
        function.side_effect = _answering(answer)
    return module


def _answering(answer: Any) -> Callable[..., Any]:  # noqa: ANN401
    def say(*_: object) -> Any:  # noqa: ANN401
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    return say


def process(used: int | None, pid: int | None = None) -> SimpleNamespace:
    """An entry of the list of processes; this one by default."""
    return SimpleNamespace(pid=os.getpid() if pid is None else pid, usedGpuMemory=used)
