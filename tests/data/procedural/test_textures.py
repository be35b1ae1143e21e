from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.data.procedural.textures import PATTERNS, Material

POINTS = np.random.default_rng(0).uniform(-2.0, 2.0, size=(400, 3))


@given(pattern=st.sampled_from(sorted(PATTERNS)), scale=st.floats(0.1, 20.0), axis=st.sampled_from([0, 1, 2]))
def test_a_pattern_stays_between_its_two_colours(pattern: str, scale: float, axis: int) -> None:
    colours = Material((0.2, 0.4, 0.6), (0.9, 0.1, 0.6), pattern, scale, axis).at(POINTS)
    assert colours.shape == (400, 3)
    assert (colours >= [0.2 - 1e-6, 0.1 - 1e-6, 0.6 - 1e-6]).all()
    assert (colours <= [0.9 + 1e-6, 0.4 + 1e-6, 0.6 + 1e-6]).all()


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_a_pattern_shows_both_colours(pattern: str) -> None:
    weights = PATTERNS[pattern](POINTS, 1.5, 2)
    assert weights.min() < 0.1
    assert weights.max() > 0.9


def test_stripes_alternate_along_their_axis_only() -> None:
    along = np.column_stack([np.zeros(4), [0.1, 0.3, 0.6, 0.8], np.zeros(4)])
    stripes = Material((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "stripes", 2.0, axis=1)
    assert stripes.at(along)[:, 0].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert np.ptp(stripes.at(along[:, [1, 0, 2]])) == 0.0
