from __future__ import annotations

import numpy as np
import pytest

from geotrap_cli.data.procedural.assembly import assemble
from geotrap_cli.data.procedural.registry import (
    BENIGN,
    CATEGORIES,
    SOURCE,
    TARGET,
    build_object,
    object_id,
    parse_id,
)
from geotrap_cli.data.raycast import render_views
from geotrap_cli.data.rig import BOUNDING_RADIUS
from geotrap_cli.errors import GeotrapError, UsageError


def test_roles_do_not_overlap_and_source_is_broad() -> None:
    assert len(SOURCE) >= 28
    assert set(TARGET) == {"knife", "hammer", "scissors"}
    assert len(CATEGORIES) == len(SOURCE) + len(TARGET) + len(BENIGN)


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_fills_the_bounding_sphere_and_is_seen_from_every_side(category: str) -> None:
    mesh = build_object(category, 5, seed=3)
    points = mesh.triangles.reshape(-1, 3)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(BOUNDING_RADIUS, abs=1e-5)
    np.testing.assert_allclose(points.min(axis=0), -points.max(axis=0), atol=1e-5)
    assert mesh.material_ids.max() < len(mesh.materials)
    coverage = (render_views(mesh, 24)[..., 3] / 255.0).mean(axis=(1, 2))
    assert coverage.min() > 0.004
    assert 0.02 < coverage.mean() < 0.6


def test_an_object_depends_on_category_index_and_seed() -> None:
    first, again = (build_object("chair", 4, seed=1).triangles for _ in range(2))
    np.testing.assert_array_equal(first, again)
    others = [("chair", 5, 1), ("chair", 4, 2), ("stool", 4, 1)]
    assert all(not np.array_equal(first, build_object(*other).triangles) for other in others)


def test_ids_name_category_and_index() -> None:
    assert object_id("mug", 12) == "mug/mug_0012"
    assert parse_id("watering_can/watering_can_0003") == ("watering_can", 3)


@pytest.mark.parametrize("wrong", ["mug/mug_12", "mug/cup_0012", "mug", "sofa/sofa_0001", "mug/mug_-001", ""])
def test_a_wrong_id_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="no procedural object"):
        parse_id(wrong)


def test_nothing_cannot_be_assembled() -> None:
    with pytest.raises(GeotrapError, match="without parts"):
        assemble([])
