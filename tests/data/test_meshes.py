"""Meshes: colours sit where the file says, in every format, and what is missing is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from geotrap_cli.data.mesh_files import find_meshes, mesh_digest
from geotrap_cli.data.meshes import load_mesh, sample
from geotrap_cli.errors import UsageError

QUARTERS = {(0, 0): (255, 0, 0), (0, 1): (0, 255, 0), (1, 0): (0, 0, 255), (1, 1): (255, 255, 0)}
"""Colour of each quarter of the test texture, by row and column from its top left."""


def texture(size: int = 64) -> Image.Image:
    pixels = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    for (row, column), colour in QUARTERS.items():
        pixels[row * half : (row + 1) * half, column * half : (column + 1) * half] = colour
    return Image.fromarray(pixels)


def card(material: Any) -> trimesh.Trimesh:
    """A square in the plane z = 0, x to the right and y up, with the whole texture on it."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], dtype=float)
    visual = TextureVisuals(uv=(corners[:, :2] + 1) / 2, material=material)
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], visual=visual, process=False)


def colour_at(mesh: Any, x: float, y: float) -> np.ndarray:
    """Colour of a card loaded as z-up at the point (x, y), found by its barycentric weights."""
    half = np.abs(mesh.triangles[..., 0]).max()
    for face, (a, b, c) in enumerate(mesh.triangles[..., :2] / half):
        u, v = np.linalg.solve(np.column_stack((b - a, c - a)), np.array((x, y)) - a)
        if u >= 0 and v >= 0 and u + v <= 1:
            return mesh.colours(np.array([face]), np.array([[u, v]], np.float32))[0]
    raise AssertionError("the point is beside the card")


@pytest.mark.parametrize("name", ["card.obj", "card.glb"])
def test_a_texture_lies_as_it_was_made(tmp_path: Path, name: str) -> None:
    material = SimpleMaterial(image=texture()) if name.endswith("obj") else PBRMaterial(baseColorTexture=texture())
    card(material).export(tmp_path / name)
    mesh = load_mesh(tmp_path / name, y_up=False)
    for (row, column), colour in QUARTERS.items():
        found = colour_at(mesh, column - 0.5, 0.5 - row)
        np.testing.assert_allclose(found * 255, colour, atol=1)


@pytest.mark.parametrize("limit", [16, 64])
def test_large_textures_are_averaged_down(tmp_path: Path, limit: int) -> None:
    card(SimpleMaterial(image=texture(128))).export(tmp_path / "card.obj")
    (pixels,) = load_mesh(tmp_path / "card.obj", y_up=False, texture_limit=limit).textures
    assert pixels.shape == (limit, limit, 3)


def test_a_texture_is_interpolated_and_repeated() -> None:
    pixels = np.zeros((2, 4, 3), np.float32)
    pixels[0, 1] = 1.0
    # Pixel centres of a picture 4 wide and 2 high, v upwards.
    centres = np.array([[0.375, 0.75], [0.125, 0.75], [1.375, -0.25], [0.25, 0.75]])
    np.testing.assert_allclose(sample(pixels, centres)[:, 0], [1, 0, 1, 0.5], atol=1e-6)


def ball(colours: np.ndarray) -> trimesh.Trimesh:
    mesh = trimesh.creation.icosphere(subdivisions=2)
    mesh.visual.vertex_colors = np.broadcast_to(colours, (len(mesh.vertices), 4))
    return mesh


def test_vertex_colours_are_interpolated(tmp_path: Path) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=2)
    red = np.rint(127.5 * (mesh.vertices[:, 2] + 1)).astype(np.uint8)
    mesh.visual.vertex_colors = np.column_stack((red, 0 * red, 0 * red, 0 * red + 255))
    mesh.export(tmp_path / "ball.ply")
    loaded = load_mesh(tmp_path / "ball.ply", y_up=False)
    middle = loaded.colours(np.arange(320), np.full((320, 2), 1 / 3, np.float32))
    heights = loaded.triangles.mean(axis=1)[:, 2] / 0.55
    np.testing.assert_allclose(middle[:, 0], (heights + 1) / 2, atol=0.01)
    assert (middle[:, 1:] == 0).all()


def test_the_colours_of_gltf_are_light_and_pictures_are_not(tmp_path: Path) -> None:
    # Half of the light is 0.735 in a picture.
    material = PBRMaterial(baseColorFactor=[0.5, 0.0, 1.0, 1.0])
    box = trimesh.creation.box()
    box.visual = TextureVisuals(material=material)
    box.export(tmp_path / "box.glb")
    (colour,) = load_mesh(tmp_path / "box.glb", y_up=True).colours(np.array([0]), np.zeros((1, 2), np.float32))
    np.testing.assert_allclose(colour, [0.735, 0, 1], atol=0.005)
    ball(np.array([128, 0, 255, 255])).export(tmp_path / "ball.ply")
    (colour,) = load_mesh(tmp_path / "ball.ply", y_up=True).colours(np.array([0]), np.zeros((1, 2), np.float32))
    np.testing.assert_allclose(colour, [128 / 255, 0, 1], atol=1e-6)


def test_parts_of_a_scene_stand_where_they_were_put(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    for x, colour in ((-2, (0, 0, 255, 255)), (2, (255, 0, 0, 255))):
        part = trimesh.creation.box()
        part.visual = TextureVisuals(material=PBRMaterial(baseColorFactor=colour))
        scene.add_geometry(part, transform=trimesh.transformations.translation_matrix((x, 0, 0)))
    scene.export(tmp_path / "two.glb")
    mesh = load_mesh(tmp_path / "two.glb", y_up=True)
    sides = mesh.triangles[..., 0].mean(axis=1)
    colours = mesh.colours(np.arange(24), np.zeros((24, 2), np.float32))
    wanted = np.where(sides[:, None] > 0, [1.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    np.testing.assert_allclose(colours, wanted, atol=1e-5)


def test_up_is_made_z_and_the_object_fits_the_sphere(tmp_path: Path) -> None:
    mast = trimesh.creation.box((0.1, 3.0, 0.2))
    mast.apply_translation((5, 7, 9))
    mast.export(tmp_path / "mast.stl")
    extents = {up: np.ptp(load_mesh(tmp_path / "mast.stl", y_up=up).triangles.reshape(-1, 3), axis=0) for up in (0, 1)}
    assert extents[1].argmax() == 2 and extents[0].argmax() == 1
    points = load_mesh(tmp_path / "mast.stl", y_up=True).triangles.reshape(-1, 3)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(0.55, abs=1e-6)
    # A turn, not a mirror image: volumes stay positive.
    assert np.einsum("ij,ij", points[::3], np.cross(points[1::3], points[2::3])) > 0


def test_a_mesh_without_colours_is_grey(tmp_path: Path) -> None:
    trimesh.creation.box().export(tmp_path / "box.stl")
    colours = load_mesh(tmp_path / "box.stl", y_up=False).colours(np.arange(12), np.zeros((12, 2), np.float32))
    assert np.ptp(colours) == 0 and 0.2 < colours[0, 0] < 0.9


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.glb", b"not a mesh", "cannot be read as a mesh"),
        ("a.ply", b"ply\nformat ascii 1.0\nelement vertex 0\nend_header\n", "cannot be read as a mesh|no triangles"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\n", "cannot be read as a mesh|no triangles"),
        ("a.obj", b"v 0 0 0\nv 0 0 0\nv 0 0 0\nf 1 2 3\n", "all triangles lie in one point"),
        ("a.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite|cannot be read"),
        ("a.obj", b"mtllib absent.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", r"absent\.mtl: not found"),
        ("a.gltf", b'{"images": [{"uri": "a%20b.png"}]}', r"a b\.png: not found"),
        ("a.gltf", b"[]", "not a glTF file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        load_mesh(tmp_path / name, y_up=True)
    assert str(tmp_path) in caught.value.message and "\n" not in str(caught.value)


def test_a_missing_texture_is_named(tmp_path: Path) -> None:
    card(SimpleMaterial(image=texture())).export(tmp_path / "card.obj")
    (picture,) = tmp_path.glob("*.png")
    picture.unlink()
    with pytest.raises(UsageError, match=rf"{picture.name}: not found"):
        load_mesh(tmp_path / "card.obj", y_up=True)


def test_the_digest_follows_the_texture_too(tmp_path: Path) -> None:
    card(SimpleMaterial(image=texture())).export(tmp_path / "card.obj")
    before = mesh_digest(tmp_path / "card.obj")
    (picture,) = tmp_path.glob("*.png")
    texture(32).save(picture)
    assert mesh_digest(tmp_path / "card.obj") != before


def touched(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")


def test_ids_come_from_folders(tmp_path: Path) -> None:
    touched(tmp_path, "s/chair/a b.glb", "s/mug/blue/meshes/model.obj", "s/top.ply", "s/.hidden/x.stl", "s/notes.txt")
    assert [mesh.id for mesh in find_meshes([tmp_path / "s"])] == ["chair/a_b", "mug/blue_meshes_model", "s/top"]
    assert [mesh.id for mesh in find_meshes([tmp_path / "s" / "top.ply"])] == ["s/top"]
    assert [mesh.id for mesh in find_meshes([tmp_path / "s"], "all")] == [
        "all/chair_a_b",
        "all/mug_blue_meshes_model",
        "all/top",
    ]
    # The same file twice is one object.
    assert len(find_meshes([tmp_path / "s", tmp_path / "s" / "top.ply"])) == 3


def test_two_meshes_of_one_id_are_an_error(tmp_path: Path) -> None:
    touched(tmp_path, "a/meshes/model.obj", "b/meshes/model.obj")
    with pytest.raises(UsageError, match=r"would both become meshes/model"):
        find_meshes([tmp_path / "a/meshes/model.obj", tmp_path / "b/meshes/model.obj"])


@pytest.mark.parametrize(
    ("paths", "message"), [(["absent"], "not found"), (["x.txt"], "not a mesh"), (["empty"], "no meshes")]
)
def test_paths_that_hold_no_mesh_are_named(tmp_path: Path, paths: list[str], message: str) -> None:
    touched(tmp_path, "x.txt", "empty/readme.md")
    with pytest.raises(UsageError, match=message):
        find_meshes([tmp_path / path for path in paths])
