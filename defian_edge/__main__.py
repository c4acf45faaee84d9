"""One command for everything: ``defian export``, ``run``, ``verify``, ``doctor``, ``bench`` and ``selftest``."""

from __future__ import annotations

import sys
from pathlib import Path

from defian_edge import __version__
from defian_edge.runtime.entry import begin, run_command

COMMANDS = {
    "export": ("defian_edge.export.command", "export a checkpoint to graphs and engines with a measured drift"),
    "run": ("defian_edge.runtime.command", "upscale pictures and video with a graph or an engine"),
    "verify": (
        "defian_edge.runtime.verify.command",
        "hold graphs and engines on this device against PyTorch's pictures",
    ),
    "doctor": (
        "defian_edge.runtime.doctor.command",
        "say what is on this device, what is wrong with it and what cures it",
    ),
    "bench": ("defian_edge.benchmark.command", "speed, limits and drift of checkpoints, graphs and engines"),
    "selftest": ("defian_edge.selftest.command", "prove all of it on this machine's GPU, stage by stage"),
}


def main(arguments: list[str] | None = None) -> None:
    """Hand over to the command that is named; exits with its status, or 2 if there is none of that name."""
    given = sys.argv[1:] if arguments is None else arguments
    name = given[0] if given else "--help"
    if name in ("-h", "--help"):
        print("\n".join(_usage()))
    elif name == "--version":
        print(f"defian-edge {__version__}")
    elif name in COMMANDS:
        sys.argv = [f"defian {name}", *given[1:]]
        run_command(COMMANDS[name][0])
    else:
        print(f"error: no command {name!r}: expected one of {', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(2)


def entry() -> None:
    """``defian``, and ``defian-run`` and its like: the command is named by the program."""
    begin()
    _, _, name = Path(sys.argv[0]).stem.partition("-")
    main([name, *sys.argv[1:]] if name in COMMANDS else None)


def _usage() -> list[str]:
    return [
        f"usage: defian [--version] {{{','.join(COMMANDS)}}} ...",
        "",
        *(f"  {name:<10}{words}" for name, (_, words) in COMMANDS.items()),
        "",
        "defian COMMAND --help says more.",
    ]


if __name__ == "__main__":
    entry()
