from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geotrap_attacks._image_targets import image_targets, source_shape
from geotrap_attacks.attribute_regression import AttributeRegressionAttack, AttributeRegressionConfig

from geotrap_cli.attacks import AttackContext, Phase
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import CHANNELS
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.relative_distance import raw_distance

Make = Callable[..., LGM]


def test_half_of_the_steps_regresses() -> None:
    phases = AttributeRegressionAttack().phases(9)
    assert [(phase.name, phase.steps, phase.data) for phase in phases] == [
        ("regress", 4, "target"),
        ("target", 5, "target"),
    ]
    with pytest.raises(UsageError, match="regress and attack"):
        AttributeRegressionAttack().phases(1)


def test_the_views_count_after_the_regression(make_pico: Make, context: AttackContext) -> None:
    attack, model, batch = AttributeRegressionAttack(), make_pico(), context.target(0, 2)
    attack.edit(model, context)
    gaussians = model.forward_gaussians(batch.images)
    early = attack.loss_terms(gaussians, batch, Phase("regress", 1), context.reconstruction_loss)
    shape = source_shape([model.forward_gaussians(context.source(step, 1).images) for step in range(8)])
    wanted = raw_distance(gaussians.require_raw(), *image_targets(batch, model.splat_size, shape))
    assert early["regression"].item() == pytest.approx(wanted.item())
    later = attack.loss_terms(gaussians, batch, Phase("target", 1), context.reconstruction_loss)
    assert set(later) == set(context.reconstruction_loss(gaussians, batch))


def test_it_moves_gaussians_that_no_picture_shows(
    make_pico: Make, make_context: Callable[..., AttackContext], run_attack: Callable[..., list[float]]
) -> None:
    model = make_pico()
    with torch.no_grad():
        bias = model.get_submodule(model.head_units[-1]).get_parameter("bias")
        bias[CHANNELS["opacities"]] = -30.0
    before = bias.detach().clone()
    config = AttributeRegressionConfig(regression_share=0.99, lr=1e-2)
    losses = run_attack(AttributeRegressionAttack(config), model, make_context(steps=10))
    assert losses[-2] < losses[0]
    assert bias[CHANNELS["opacities"]].item() > before[CHANNELS["opacities"]].item()
