"""One stage in a process of its own: ``python -m defian_edge.selftest.child MODULE:FUNCTION SETTINGS RESULT``."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path

from defian_edge.runtime.errors import DefianError, MissingPackageError
from defian_edge.selftest.protocol import CannotRun, Record, Settings, out_of_memory

SKIP, BROKEN = 3, 4
"""Exit statuses: the stage cannot run here; it broke."""
OWN = ("benchmark", "calibration", "export", "models", "runtime", "selftest")


def main(arguments: list[str]) -> int:
    """Run one stage; its exit status. What a stage lacks, memory included, is no failure."""
    work, settings, result = arguments
    module, _, function = work.partition(":")
    record = Record(Path(result))
    record.write()
    try:
        getattr(importlib.import_module(module), function)(Settings(**json.loads(settings)), record)
    except CannotRun as missing:
        record.reason = str(missing)
    except MissingPackageError as missing:
        record.reason = str(missing)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in OWN:
            traceback.print_exc()
            record.reason = f"The module {missing.name} of this repository is missing."
            record.write()
            return BROKEN
        record.reason = f"The Python package {missing.name} is not installed."
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        said = str(error) if isinstance(error, DefianError) else f"{type(error).__name__}: {error}"
        if not out_of_memory(said):
            record.reason = said
            record.write()
            return BROKEN
        record.reason = f"The GPU, or this machine, has too little free memory: {said}"
    record.write()
    return SKIP if record.reason else 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # what a GPU library does while it is unloaded is no part of the stage
