from __future__ import annotations

import numpy as np
import pytest

from defian_edge.export.rewrites.linear_tail import LinearTail, Stage


def stages(scale: int, channels: int = 3) -> list[Stage]:
    random = np.random.default_rng(scale)
    factors = {2: (2,), 3: (3,), 4: (2, 2)}[scale]
    grow = [Stage(random.standard_normal((channels * f * f, channels, 3, 3)), f) for f in factors]
    return [*grow, Stage(random.standard_normal((3, channels, 3, 3)), 1)]


@pytest.mark.parametrize(("scale", "depth"), [(2, 1), (3, 1), (4, 2)])
def test_an_edge_depends_on_as_many_rows_as_the_stages_reach(scale, depth):
    tail = LinearTail(stages(scale), np.zeros(3))
    assert tail.interior.shape == (3 * scale**2, 3, 5, 5)
    assert tail.edges["top"].shape == tail.edges["bottom"].shape == (3 * scale**2, 3, depth, 5)
    assert tail.edges["left"].shape == tail.edges["right"].shape == (3 * scale**2, 3, 5, depth)


def test_a_border_that_reaches_beyond_the_ring_is_refused():
    wide = [*stages(2), Stage(np.ones((3, 3, 3, 3)), 1), Stage(np.ones((3, 3, 3, 3)), 1)]
    tail = LinearTail(wide, np.zeros(3))
    with pytest.raises(ValueError, match="outer ring"):
        _ = tail.edges
