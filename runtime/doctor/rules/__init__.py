"""What does not fit together: each rule with the source of what it claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .driver import DRIVER_RULES
from .gpu import GPU_RULES
from .jetson import JETSON_RULES
from .machine import MACHINE_RULES
from .packages import PACKAGE_RULES
from .pairs import PAIR_RULES

if TYPE_CHECKING:
    from ..facts import Facts
    from ..findings import Finding

RULES = (*MACHINE_RULES, *DRIVER_RULES, *GPU_RULES, *JETSON_RULES, *PACKAGE_RULES, *PAIR_RULES)
"""Every rule, in the order of the page."""


def judge(facts: Facts) -> list[Finding]:
    """What every rule finds."""
    return [finding for rule in RULES for finding in rule.findings(facts)]
