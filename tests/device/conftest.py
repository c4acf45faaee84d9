"""Tests on the stand-in CUDA driver, in a process of their own: ``tests/runtime/test_on_stand_in.py`` starts it.

Anywhere else they are not collected, so that no other test ever meets a driver that is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.doubles.standin_driver import AVAILABLE, StandInDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

collect_ignore_glob = [] if AVAILABLE else ["test_*.py"]


@pytest.fixture(autouse=True)
def driver() -> Iterator[StandInDriver]:
    """The driver, which must be left as it was found: nothing alive, nothing misused, no context current."""
    stand_in = StandInDriver()
    stand_in.reset()
    lost = stand_in.ask("lost")
    yield stand_in
    stand_in.fail_from(0)
    left = {name: stand_in.ask(name) for name in ("live", "contexts", "depth", "misuses")}
    assert left == dict.fromkeys(left, 0)
    assert stand_in.ask("lost") == lost
