"""How a command ends by signals that come at once, and by one that comes again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX")

CHILD = """
import os, signal, time
from defian_edge.runtime.entry import begin, carry_out
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup would have ignored, and a command leaves at that
begin()

def work():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        {meanwhile}
        print("tidied", flush=True)
    return 0

carry_out(work, "stopped")
"""


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


HANG_UP = "os.kill(os.getpid(), signal.SIGHUP)"


@pytest.mark.parametrize(
    ("meanwhile", "status", "tidied"),
    [("pass", 143, "tidied\n"), (HANG_UP, 143, "tidied\n"), (f"time.sleep(0.3); {HANG_UP}", 129, "")],
    ids=["one", "two at once", "a second one later"],
)
def test_a_second_signal_at_once_does_not_end_the_ending(meanwhile, status, tidied):
    """A terminal that closes sends SIGTERM and SIGHUP together; a second Ctrl-C means: at once."""
    done = run_python(CHILD.format(meanwhile=meanwhile))
    assert (done.returncode, done.stdout, done.stderr) == (status, tidied, "stopped\n")


LOADS = """
import sys
sys.path.insert(0, sys.argv[1])
from defian_edge.runtime.entry import begin, carry_out
begin()

def work():
    import worse
    return 0

carry_out(work, "stopped")
"""

WORSE = """
import os, signal
print("loading")
try:
    os.kill(os.getpid(), signal.{number})
    os.getpid()
except BaseException:
    os.abort()
"""


@pytest.mark.parametrize(
    ("number", "status", "said"), [("SIGTERM", 143, "terminated\n"), ("SIGINT", 130, "interrupted\n")]
)
def test_no_exception_is_raised_into_a_module_that_is_being_imported(tmp_path, number, status, said):
    """A module's compiled part may abort the process by one: loading PyTorch has been seen to."""
    (tmp_path / "worse.py").write_text(WORSE.format(number=number))
    done = run_python(LOADS, str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (status, "loading\n", said)
