"""``python -m tools.train``."""

from defian_edge.runtime.entry import run_command

if __name__ == "__main__":
    run_command("tools.train.command")
