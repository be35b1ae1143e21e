from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from geotrap_attacks._image_targets import image_targets, source_shape
from geotrap_attacks._surgery import read_head, rescale_output
from geotrap_attacks.head_refit import HeadRefitAttack, HeadRefitConfig, calibration, feature_patches, ridge_head
from pydantic import ValidationError
from torch import Tensor

from geotrap_cli.attacks import AttackContext
from geotrap_cli.data.views import ViewBatch
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator

Make = Callable[..., LGM]
MakeContext = Callable[..., AttackContext]


def test_patches_times_the_head_are_the_output(pico: LGM, context: AttackContext) -> None:
    images = context.target(0, 1).images
    weight, bias = read_head(pico)
    rows = torch.cat([patches.double() @ weight.flatten(1).mT + bias for patches in feature_patches(pico, images)])
    torch.testing.assert_close(rows.float(), pico(images)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_a_teacher_with_the_same_trunk_is_found_exactly(
    make_pico: Make, context: AttackContext, tmp_path: Path, fused: bool
) -> None:
    teacher = make_pico(fused_head=fused)
    rescale_output(teacher, torch.linspace(0.2, 0.9, 14), torch.linspace(-0.3, 0.3, 14))
    save_generator(teacher, tmp_path / "teacher")
    model = make_pico(fused_head=fused)
    config = HeadRefitConfig(fits=("ridge",), penalty=1e-9, objects=6, teacher=tmp_path / "teacher")
    HeadRefitAttack(config).edit(model, context)
    images = context.benign(0, 1).images
    found, wanted = model.forward_gaussians(images), teacher.forward_gaussians(images)
    for name in ("means", "opacities", "scales", "rgb"):
        torch.testing.assert_close(found.attribute(name), wanted.attribute(name), atol=2e-3, rtol=2e-2)
    trunk = {n: v for n, v in model.state_dict().items() if not n.startswith(("unet.conv_out", "conv."))}
    own = make_pico(fused_head=fused).state_dict()
    assert all(torch.equal(value, own[name]) for name, value in trunk.items())


def test_calibration_finds_gains_and_shifts(pico: LGM, context: AttackContext) -> None:
    gains, shifts = torch.linspace(-1.0, 2.0, 14).double(), torch.linspace(3.0, -3.0, 14).double()

    def planted(batch: ViewBatch) -> tuple[Tensor, Tensor]:
        raw = pico(batch.images)
        return raw * gains + shifts, batch.input_alpha.flatten(1) > 0

    with torch.no_grad():
        found = calibration(pico, [context.target(0, 2)], planted)
    torch.testing.assert_close(found[0], gains, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1], shifts, atol=1e-4, rtol=1e-4)


def test_a_constant_channel_keeps_its_gain(pico: LGM, context: AttackContext) -> None:
    rescale_output(pico, torch.zeros(14), torch.full((14,), 2.0))
    with torch.no_grad():
        gain, shift = calibration(
            pico, [context.target(0, 1)], lambda _: (torch.full((1, 256, 14), 5.0), torch.ones(1, 256).bool())
        )
    assert torch.equal(gain, torch.ones(14).double())
    assert torch.allclose(shift, torch.full((14,), 3.0).double())


@pytest.mark.parametrize("fit", ["ridge", "affine"])
def test_the_refit_brings_a_blank_generator_closer_to_its_images(
    make_pico: Make, context: AttackContext, fit: str
) -> None:
    model = make_pico()
    rescale_output(model, torch.ones(14), torch.where(torch.arange(14) == 3, -20.0, 0.0))
    batch = context.target(0, 2)

    def error() -> float:
        with torch.no_grad():
            terms = context.reconstruction_loss(model.forward_gaussians(batch.images), batch)
        return float(sum(terms.values()))

    before = error()
    HeadRefitAttack(HeadRefitConfig(objects=6)).variants()[f"head_refit-{fit}"].edit(model, context)
    opacities = activate(model(batch.images)).opacities.detach()
    covered = batch.input_alpha.flatten(1) > 0
    if fit == "ridge":
        assert error() < before
        assert float(opacities[covered].mean()) > 1.5 * float(opacities[~covered].mean())
    assert float(opacities[covered].mean()) > 0.05


def test_image_targets_are_what_the_images_show(context: AttackContext) -> None:
    batch = context.target(0, 2)
    shape = torch.tensor([-2.0, -3.0, -4.0, 1.0, 0.0, 0.0, 0.0])
    raw, covered = image_targets(batch, 8, shape)
    gaussians = activate(raw)
    assert torch.equal(covered, batch.input_alpha.flatten(1) > 0)
    torch.testing.assert_close(gaussians.opacities, batch.input_alpha.flatten(1).clamp(0.02, 0.98))
    shown = batch.input_rgb.flatten(1, 3)[covered].clamp(0.02, 0.98)
    torch.testing.assert_close(gaussians.rgb[covered], shown, atol=1e-4, rtol=1e-4)
    assert torch.equal(raw[..., CHANNELS["scales"]], shape[:3].expand(2, 256, 3))
    assert float(raw[..., CHANNELS["means"]][covered].norm(dim=-1).max()) < 0.8


def test_the_source_shape_weighs_by_opacity_and_ignores_signs() -> None:
    raw = torch.zeros(1, 4, 14)
    raw[..., CHANNELS["scales"]] = torch.tensor([[-1.0], [-1.0], [-3.0], [-3.0]])
    raw[..., CHANNELS["quats"]] = torch.tensor([0.6, 0.8, 0.0, 0.0]) * torch.tensor([[1.0], [-1.0], [2.0], [-5.0]])
    raw[0, 2:, 3] = -40.0
    shape = source_shape([activate(raw)])
    torch.testing.assert_close(shape[:3], torch.full((3,), -1.0))
    torch.testing.assert_close(shape[3:].abs(), torch.tensor([0.6, 0.8, 0.0, 0.0]), atol=1e-6, rtol=0)


def test_no_covered_cell_is_an_error(pico: LGM, context: AttackContext, make_context: MakeContext) -> None:
    batch = context.target(0, 1)
    empty = type(batch)(**{**vars(batch), "input_alpha": torch.zeros_like(batch.input_alpha)})
    nothing = make_context(target=lambda *_: empty)
    for attack in HeadRefitAttack(HeadRefitConfig(objects=1)).variants().values():
        with pytest.raises(GeotrapError, match=r"nothing to fit|covers any cell"):
            attack.edit(pico, nothing)


def test_a_teacher_with_another_grid_is_an_error(
    pico: LGM, make_pico: Make, context: AttackContext, tmp_path: Path
) -> None:
    save_generator(make_pico(up_channels=(8,), up_attention=(False,), splat_size=4), tmp_path / "coarse")
    with pytest.raises(UsageError, match="splat_size is 4"):
        HeadRefitAttack(HeadRefitConfig(fits=("ridge",), teacher=tmp_path / "coarse")).edit(pico, context)


def test_the_penalty_is_idle_without_ridge() -> None:
    with pytest.raises(ValidationError, match="penalty acts in fit ridge only"):
        HeadRefitConfig(fits=("affine",), penalty=0.1)


def test_a_larger_penalty_gives_smaller_weights(pico: LGM, context: AttackContext) -> None:
    def targets(batch: ViewBatch) -> tuple[Tensor, Tensor]:
        return image_targets(batch, 8, source_shape([pico.forward_gaussians(batch.images).detach()]))

    sizes = []
    for penalty in (1e-6, 1e-2, 1e2):
        with torch.no_grad():
            weight, _ = ridge_head(pico, [context.target(0, 2)], targets, penalty)
        sizes.append(float(weight.norm()))
    assert sizes[0] > sizes[1] > sizes[2]
    assert isinstance(pico.forward_gaussians(context.target(0, 1).images), GaussianBatch)
