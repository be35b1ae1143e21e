"""Geometry, gradients and units of Splatter Image."""

from __future__ import annotations

import math
from itertools import chain

import pytest
import torch
from geotrap_defenses._features import watch
from torch import Tensor

from geotrap_cli.cameras import LGM_RADIUS, Cameras
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.models.family import load_family, preset_settings
from geotrap_cli.models.loading import load_generator
from geotrap_cli.models.splatter_image.architecture import Architecture
from geotrap_cli.models.splatter_image.head import SH_C0, SH_C1, raw_gaussians
from geotrap_cli.models.splatter_image.model import SplatterImage

ARCH = Architecture.parse({"input_size": 16, "channel_mult": [1, 1], "znear": 1.0, "zfar": 3.0, "camera_radius": 2.0})
UNIT = LGM_RADIUS / 2.0


def features(channels: int = 24, **values: list[float]) -> Tensor:
    """Head output of one object, the same for all pixels, by the published order of the channels."""
    starts = {"depth": 0, "offset": 1, "opacity": 4, "scale": 5, "rotation": 8, "colour": 12, "harmonics": 15}
    row = torch.zeros(channels)
    for name, numbers in values.items():
        row[starts[name] : starts[name] + len(numbers)] = torch.tensor(numbers)
    return row[None, :, None, None].expand(1, -1, 16, 16)


def test_a_gaussian_lies_on_its_pixels_ray_at_the_predicted_depth(images: Tensor, cameras: Cameras) -> None:
    logit = 0.7
    means = raw_gaussians(features(depth=[logit]), images[:1, 0], ARCH)[0, :, :3]
    depth = 1.0 + 2.0 / (1 + math.exp(-logit))
    homogeneous = torch.cat((means, torch.ones(len(means), 1)), dim=1)
    seen = (homogeneous @ cameras.viewmats[0, 0].T)[:, :3]
    torch.testing.assert_close(seen[:, 2], torch.full((256,), depth * UNIT))
    pixels = (seen / seen[:, 2:]) @ cameras.Ks[0, 0].T
    grid = torch.arange(16) + 0.5
    rows, columns = torch.meshgrid(grid, grid, indexing="ij")
    torch.testing.assert_close(pixels[:, :2], torch.stack((columns, rows), dim=-1).reshape(-1, 2), atol=1e-4, rtol=0)


def test_an_offset_moves_it_along_the_cameras_axes(images: Tensor) -> None:
    still = raw_gaussians(features(), images[:1, 0], ARCH)[..., :3]
    moved = raw_gaussians(features(offset=[0.1, 0.2, 0.4]), images[:1, 0], ARCH)[..., :3]
    # Right, down and forward for the camera are x, -y and -z of the world.
    torch.testing.assert_close(moved - still, (UNIT * torch.tensor([0.1, -0.2, -0.4])).expand_as(still))


def test_scales_grow_with_the_unit_and_colours_are_those_that_the_camera_sees(images: Tensor) -> None:
    head = features(scale=[-3.0, -2.0, -1.0], opacity=[0.3], colour=[0.5, -0.5, 0.0], harmonics=[0.0] * 3 + [0.2] * 3)
    model = SplatterImage(base_channels=4, channel_mult=(1, 1), num_blocks=1, input_size=16)
    batch = model.activate(raw_gaussians(head, images[:1, 0], ARCH))
    expected = UNIT * torch.tensor([-3.0, -2.0, -1.0]).exp()
    torch.testing.assert_close(batch.scales, expected.expand_as(batch.scales))
    torch.testing.assert_close(batch.opacities, torch.full_like(batch.opacities, 1 / (1 + math.exp(-0.3))))
    z = -images[0, 0, 8].flatten()
    wanted = 0.5 + SH_C0 * torch.tensor([0.5, -0.5, 0.0]) + 0.2 * SH_C1 * z[:, None]
    torch.testing.assert_close(batch.rgb[0], wanted, atol=1e-5, rtol=0)


def test_rotations_turn_with_the_camera(images: Tensor) -> None:
    """The camera's z axis is the world's -z, its y axis -y: R_world = diag(1, -1, -1) R_camera."""
    quat = torch.nn.functional.normalize(torch.tensor([0.8, 0.1, -0.4, 0.3]), dim=0)
    raw = raw_gaussians(features(rotation=quat.tolist()), images[:1, 0], ARCH)[0, 0, 7:11]
    torch.testing.assert_close(matrix(raw), torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ matrix(quat))


def matrix(quat: Tensor) -> Tensor:
    w, x, y, z = quat.tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def test_the_head_is_differentiable(images: Tensor) -> None:
    head = torch.randn(1, 24, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    view = images[:1, 0, :, 7:9, 7:9].double()
    assert torch.autograd.gradcheck(lambda values: raw_gaussians(values, view, ARCH), (head,))


def test_every_tensor_gets_a_gradient(miniature: SplatterImage, images: Tensor) -> None:
    for parameter in miniature.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    batch = miniature.forward_gaussians(images)
    (batch.require_raw().square().sum() + batch.activated.sum()).backward()
    dead = [name for name, parameter in miniature.named_parameters() if not bool(parameter.grad.abs().sum() > 0)]
    # A constant that is added to all keys of an attention changes nothing, but the same layer makes queries and values.
    assert dead == []


def test_units_hold_each_tensor_once_and_places_are_told(miniature: SplatterImage) -> None:
    units = miniature.units()
    names = list(chain.from_iterable(units.values()))
    assert len(names) == len(set(names)) == len(list(miniature.named_parameters()))
    assert {miniature.place(unit).part for unit in units} == {"down", "mid", "up", None}
    attending = {unit for unit in units if miniature.place(unit).attention}
    assert {unit.rpartition(".")[2] for unit in attending} == {"norm2", "qkv", "proj"}
    assert set(miniature.head_units) | set(miniature.input_units) <= units.keys()
    with pytest.raises(GeotrapError, match="belongs to no unit"):
        miniature.unit_of("unet.conv_in.weight")


def test_features_of_every_resolution_can_be_watched(miniature: SplatterImage, images: Tensor) -> None:
    assert miniature.bottleneck in miniature.stages
    with watch(miniature, miniature.stages) as features:
        miniature(images)
    sizes = [features.by_name[name].shape[-1] for name in miniature.stages]
    assert sizes == [16, 8, 8, 8, 16]


def test_gradient_checkpointing_changes_nothing(miniature: SplatterImage, images: Tensor) -> None:
    gradients = []
    for _ in range(2):
        miniature.zero_grad()
        miniature(images).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in miniature.parameters()])
        miniature.enable_gradient_checkpointing()
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True))


def test_fresh_gaussians_are_faint_small_and_in_front_of_the_camera(images: Tensor) -> None:
    torch.manual_seed(0)
    settings = preset_settings(load_family("splatter_image"), "nano", input_size=16, output_size=16)
    batch = SplatterImage(**settings).forward_gaussians(images)
    assert 0.005 < float(batch.scales.detach().mean()) < 0.05
    assert float(batch.opacities.detach().mean()) < 0.3
    assert float(batch.means.detach()[..., 2].abs().max()) < LGM_RADIUS


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"channels": 3}, "has no setting channels"),
        ({"znear": 4.0}, "0 < znear < zfar"),
        ({"sh_degree": 2}, "sh_degree must be 0 or 1"),
        ({"input_size": 30}, "cannot be halved 3 times"),
        ({"num_blocks": 0}, "num_blocks must be positive"),
    ],
)
def test_settings_that_contradict_one_another(settings: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Architecture.parse(settings)


def test_unknown_sizes_and_shapes_are_told(miniature: SplatterImage) -> None:
    with pytest.raises(UsageError, match="no model preset 'big' of splatter_image"):
        load_generator("big", "random", family="splatter_image")
    with pytest.raises(GeotrapError, match=r"SplatterImage takes images of shape \[B, 1, 9, 16, 16\]"):
        miniature(torch.zeros(2, 4, 9, 16, 16))
    with pytest.raises(UsageError, match="cannot be fused"):
        miniature.fuse_head()
