"""Finding input views 90 degrees apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.cameras import LGM_RADIUS, orbit_viewmats
from geotrap_cli.data.rings import find_rings
from geotrap_cli.errors import UsageError


def centers(elevations: list[float], azimuths: list[float]) -> np.ndarray:
    """Positions in LGM's azimuth; here a positive elevation is above."""
    e, a = np.deg2rad(elevations), np.deg2rad(azimuths)
    return LGM_RADIUS * np.stack((np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)), axis=-1)


def test_every_view_of_a_ring_starts_a_group() -> None:
    assert find_rings(centers([10] * 4, [0, 90, 180, 270])) == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]


def test_groups_turn_the_way_lgms_azimuth_does() -> None:
    rotations = orbit_viewmats(0.0, 90.0)[:3, :3]
    toward_second = -rotations[2].numpy()
    places = centers([0] * 4, [180, 90, 0, 270])
    first, second, *_ = find_rings(places)[2]
    np.testing.assert_allclose(places[second] / LGM_RADIUS, toward_second, atol=1e-6)
    assert (first, second) == (2, 1)


def test_rings_do_not_mix_elevations() -> None:
    found = find_rings(centers([0] * 4 + [30] * 4, [0, 90, 180, 270] * 2))
    assert len(found) == 8
    assert all({index // 4 for index in group} in ({0}, {1}) for group in found)


def test_an_incomplete_ring_gives_no_group() -> None:
    found = find_rings(centers([0] * 4 + [30] * 3, [0, 90, 180, 270, 0, 90, 180]))
    assert all(max(group) < 4 for group in found) and len(found) == 4


def test_rings_near_the_pole_are_no_input() -> None:
    found = find_rings(centers([80] * 4 + [0] * 4, [0, 90, 180, 270] * 2))
    assert all(min(group) >= 4 for group in found)


def test_inexact_rings_are_taken_when_there_are_no_exact_ones() -> None:
    found = find_rings(centers([0, 5, -5, 3], [0, 100, 180, 262]))
    assert [0, 1, 2, 3] in found


def test_scattered_views_give_the_one_best_group() -> None:
    azimuths = [0.0, 50, 60, 70, 120, 200, 250]
    found = find_rings(centers([0.0, 40, -30, 10, 30, -20, 20], azimuths))
    assert len(found) == 1 and len(set(found[0])) == 4
    assert found == find_rings(centers([0.0, 40, -30, 10, 30, -20, 20], azimuths))


def test_distance_does_not_matter() -> None:
    places = centers([0] * 8, [45.0 * i for i in range(8)])
    assert find_rings(places * np.linspace(0.5, 2, 8)[:, None]) == find_rings(places)


def test_three_views_are_too_few() -> None:
    with pytest.raises(UsageError, match="3 views are too few"):
        find_rings(centers([0] * 3, [0, 90, 180]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-89, 89), st.floats(0, 359)), min_size=4, max_size=30))
def test_any_views_give_groups_of_four_different_ones(angles: list[tuple[float, float]]) -> None:
    found = find_rings(centers(*(list(part) for part in zip(*angles, strict=True))))
    assert found
    assert all(len(set(group)) == 4 and min(group) >= 0 and max(group) < len(angles) for group in found)
