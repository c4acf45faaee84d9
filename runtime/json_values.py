"""Values as JSON has them."""

from __future__ import annotations

import math
from typing import Any


def json_ready(value: Any) -> Any:  # noqa: ANN401 - any of JSON's types
    """The same with null for floats that are not finite, which JSON lacks; keys are text, tuples lists."""
    if isinstance(value, dict):
        return {str(key): json_ready(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
