from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from geotrap_cli.data.base import SurfaceDataset
from geotrap_cli.data.procedural.dataset import ProceduralConfig, ProceduralDataset
from geotrap_cli.data.procedural.registry import build_object
from geotrap_cli.data.procedural.sheet import contact_sheet
from geotrap_cli.errors import UsageError

ALL = list(range(24))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ProceduralDataset:
    return ProceduralDataset(ProceduralConfig(objects_per_category=3, cache=tmp_path_factory.mktemp("cache")))


def project(points: torch.Tensor, dataset: ProceduralDataset, view: int, size: int) -> torch.Tensor:
    """Pixel positions [n, 2] of world points [n, 3]."""
    cameras = dataset.cameras(size)
    local = points @ cameras.viewmats[view, :3, :3].T + cameras.viewmats[view, :3, 3]
    assert (local[:, 2] > 0).all()
    image = local @ cameras.Ks[view].T
    return image[:, :2] / image[:, 2:]


def test_it_is_a_data_set_with_unique_ids_and_every_category(dataset: ProceduralDataset) -> None:
    assert isinstance(dataset, SurfaceDataset)
    ids = [record.id for record in dataset.records]
    assert len(set(ids)) == len(ids)
    categories = {*dataset.default_source, *dataset.default_target, *dataset.default_benign}
    assert len(ids) == 3 * len(categories)
    assert {record.category for record in dataset.records} == categories
    assert all(record.views == 24 and record.group == record.id for record in dataset.records)


def test_more_objects_leave_the_first_ones_alone(dataset: ProceduralDataset, tmp_path: Path) -> None:
    larger = ProceduralDataset(ProceduralConfig(objects_per_category=9, cache=tmp_path))
    id = "boat/boat_0002"
    assert torch.equal(larger.views(id, ALL, 64).rgba, dataset.views(id, ALL, 64).rgba)
    with pytest.raises(UsageError, match="boat_0003"):
        dataset.views("boat/boat_0003", [0], 64)


@pytest.mark.parametrize("id", ["airplane/airplane_0001", "chair/chair_0000", "scissors/scissors_0002"])
def test_silhouettes_agree_with_projected_vertices(dataset: ProceduralDataset, id: str) -> None:
    category, index = id.split("/")[0], int(id[-4:])
    x, y, z = torch.from_numpy(build_object(category, index, 0).triangles.reshape(-1, 3)).unbind(-1)
    vertices = torch.stack([x, z, -y], dim=-1)
    alpha = dataset.views(id, ALL, 64).rgba[..., 3]
    for view in ALL:
        low, high = (f(project(vertices, dataset, view, 64), dim=0) for f in (torch.amin, torch.amax))
        rows, columns = torch.nonzero(alpha[view] > 0, as_tuple=True)
        seen = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).float()
        torch.testing.assert_close(seen, torch.cat([low, high]), atol=1.6, rtol=0.0)


def test_surface_points_reproject_to_their_own_pixels(dataset: ProceduralDataset) -> None:
    id = "teapot/teapot_0000"
    points, alpha = dataset.surface_points(id, ALL), dataset.views(id, ALL, 32).rgba[..., 3]
    for view in ALL:
        rows, columns = torch.nonzero(~points[view, ..., 0].isnan(), as_tuple=True)
        expected = torch.stack([columns, rows], dim=-1) + 0.5
        torch.testing.assert_close(
            project(points[view, rows, columns], dataset, view, 32), expected, atol=0.05, rtol=0.0
        )
        assert (alpha[view, rows, columns] > 0).all()
        assert (alpha[view] == 1).sum() <= len(rows)


def test_surface_points_of_another_size_agree_with_the_cached_grid(dataset: ProceduralDataset) -> None:
    # Every third pixel centre of a 96 px picture is a pixel centre of a 32 px picture.
    fine = dataset.surface_points("dog/dog_0001", [3, 12], size=96)[:, 1::3, 1::3]
    torch.testing.assert_close(dataset.surface_points("dog/dog_0001", [3, 12]), fine, atol=5e-4, rtol=0, equal_nan=True)


def test_smaller_pictures_keep_coverage_and_do_not_bleed(dataset: ProceduralDataset) -> None:
    large, small = (dataset.views("lamp/lamp_0000", [0, 9], size).rgba for size in (64, 32))
    assert small.shape == (2, 32, 32, 4)
    torch.testing.assert_close(small[..., 3].mean(), large[..., 3].mean(), atol=2e-3, rtol=0)
    premultiplied = [(rgba[..., :3] * rgba[..., 3:]).mean() for rgba in (small, large)]
    torch.testing.assert_close(*premultiplied, atol=2e-3, rtol=0)


def test_larger_pictures_than_rendered_are_refused(dataset: ProceduralDataset) -> None:
    with pytest.raises(UsageError, match="rendered at 64 px"):
        dataset.views("lamp/lamp_0000", [0], 128)


def test_views_come_in_the_order_asked_with_their_cameras(dataset: ProceduralDataset) -> None:
    whole, some = dataset.views("car/car_0000", ALL, 64), dataset.views("car/car_0000", [20, 3], 64)
    assert torch.equal(some.rgba, whole.rgba[[20, 3]])
    assert torch.equal(some.cameras.viewmats, whole.cameras.viewmats[[20, 3]])
    # The 20 degree ring looks down on the object, the -15 degree ring up at it; y is up.
    heights = whole.cameras.centers[:, 1].reshape(3, 8)
    np.testing.assert_allclose(
        heights.numpy(), 1.5 * np.sin(np.radians([[0.0], [20.0], [-15.0]])) + np.zeros((3, 8)), atol=1e-6
    )


def test_fingerprint_changes_with_content_only(dataset: ProceduralDataset, tmp_path: Path) -> None:
    base = ProceduralConfig(objects_per_category=3, cache=tmp_path)

    def fingerprint(**changed: int) -> str:
        return ProceduralDataset(base.model_copy(update=changed)).fingerprint()

    assert fingerprint() == dataset.fingerprint()
    assert len({fingerprint(), fingerprint(seed=1), fingerprint(size=32), fingerprint(objects_per_category=4)}) == 4
    assert fingerprint(in_memory=7) == dataset.fingerprint()


def test_config_is_strict_and_described() -> None:
    with pytest.raises(ValidationError):
        ProceduralConfig(objects=3)  # type: ignore[call-arg]
    assert all(field.description for field in ProceduralConfig.model_fields.values())


def test_memory_is_bounded(tmp_path: Path) -> None:
    small = ProceduralDataset(ProceduralConfig(objects_per_category=3, size=16, cache=tmp_path, in_memory=2))
    for index in range(3):
        small.views(f"crate/crate_000{index}", [0], 16)
    assert list(small._memory) == ["crate/crate_0001", "crate/crate_0002"]


def test_contact_sheet_has_a_row_per_category(dataset: ProceduralDataset, tmp_path: Path) -> None:
    contact_sheet(dataset, tmp_path / "sheet.png", per_category=2, categories=["car", "lamp"], size=32)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (2 * 34, 2 * 48)
        assert len(set(sheet.get_flattened_data() if hasattr(sheet, "get_flattened_data") else sheet.getdata())) > 20
