from __future__ import annotations

import numpy as np
import pytest
import trimesh

from geotrap_cli.data.procedural.primitives import (
    Part,
    box,
    cone,
    cylinder,
    extrude,
    lathe,
    sphere,
    torus,
    tube,
)
from geotrap_cli.data.procedural.textures import Material

GREY = Material((0.5, 0.5, 0.5))


def volume(part: Part) -> float:
    """Signed volume: negative when the surface is inside out."""
    mesh = trimesh.Trimesh(part.vertices, part.faces, process=True)
    assert mesh.is_watertight
    return float(mesh.volume)


@pytest.mark.parametrize(
    ("part", "expected", "tolerance"),
    [
        (box((1.0, 2.0, 3.0), (5.0, 5.0, 5.0), GREY), 6.0, 1e-9),
        (cylinder(0.5, 2.0, (0, 0, 0), GREY, sides=64), np.pi / 2, 0.01),
        (cone(0.5, 3.0, (0, 0, 0), GREY, sides=64), np.pi / 4, 0.01),
        (sphere((1.0, 2.0, 0.5), (1, 1, 1), GREY, 3), 4 / 3 * np.pi, 0.1),
        (torus(1.0, 0.2, (0, 0, 0), GREY, 48), 2 * np.pi**2 * 0.04, 0.1),
        (tube([(0, 0, 0), (0, 0, 1), (0, 0, 3)], 0.5, GREY, 32), 3 * np.pi / 4, 0.05),
        (extrude([(0, 0), (2, 0), (2, 1), (0, 1)], 0.5, GREY), 1.0, 1e-9),
        (lathe([(0, 0), (1, 0), (1, 1), (0, 1)], GREY, 64), np.pi, 0.02),
    ],
    ids=["box", "cylinder", "cone", "sphere", "torus", "tube", "extrude", "lathe"],
)
def test_solids_are_closed_and_have_the_known_volume(part: Part, expected: float, tolerance: float) -> None:
    assert volume(part) == pytest.approx(expected, abs=tolerance)


def test_box_stands_on_its_point() -> None:
    part = box((1.0, 1.0, 2.0), (3.0, 0.0, 1.0), GREY)
    assert part.vertices.min(axis=0).tolist() == [2.5, -0.5, 1.0]
    assert part.vertices.max(axis=0).tolist() == [3.5, 0.5, 3.0]


def test_extrusion_keeps_left_and_right_and_puts_the_front_at_minus_y() -> None:
    part = extrude([(0, 0), (2, 0), (0, 1)], 0.5, GREY)
    np.testing.assert_allclose(part.vertices.min(axis=0), [0.0, -0.25, 0.0])
    np.testing.assert_allclose(part.vertices.max(axis=0), [2.0, 0.25, 1.0])
    assert part.vertices[part.vertices[:, 2] > 0.9][:, 0].max() == pytest.approx(0.0)


def test_turning_is_counter_clockwise_about_the_pivot_and_keeps_the_texture() -> None:
    part = box((0.2, 0.2, 0.2), (1.0, 0.0, -0.1), GREY)
    turned = part.turned("z", 90.0, about=(0.5, 0.0, 0.0))
    np.testing.assert_allclose(turned.vertices.mean(axis=0), [0.5, 0.5, 0.0], atol=1e-12)
    np.testing.assert_array_equal(turned.texture, part.texture)
