"""A generator whose every splat is culled gives rendering losses no gradient; each way out of that is tried."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from geotrap_attacks.desaturate import DesaturateAttack, DesaturateConfig, opacity_shift
from geotrap_attacks.full import FullAttack, FullConfig
from pydantic import ValidationError

from geotrap_cli.attacks import Attack, AttackContext
from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import CHANNELS, activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.render import render

Make = Callable[..., LGM]
MakeContext = Callable[..., AttackContext]
Run = Callable[..., list[float]]
WAYS = [
    "desaturate-straight_through",
    "desaturate-soften",
    "desaturate-shift",
    "desaturate-shrink-0.5",
    "desaturate-shrink-0.25",
    "desaturate-shrink-0.1",
]


@pytest.fixture
def blank(make_pico: Make) -> LGM:
    """A generator whose opacity is 2e-9 everywhere."""
    model = make_pico()
    with torch.no_grad():
        model.conv.bias[CHANNELS["opacities"]] = -20.0
        model.conv.weight[CHANNELS["opacities"]] = 0.0
    return model


def gradient(attack: Attack, model: LGM, context: AttackContext) -> float:
    """Norm of the rendering loss's gradient, as the attack sees it."""
    batch = context.target(0, 2)
    model.requires_grad_(True).zero_grad()
    gaussians = attack.gaussians(model.forward_gaussians(batch.images))
    sum(context.reconstruction_loss(gaussians, batch).values()).backward()  # type: ignore[union-attr]
    return math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))


def shown(model: LGM, context: AttackContext) -> float:
    """Largest rendered alpha of the attacker's own objects, with the true activations."""
    batch = context.target(0, 2)
    with torch.no_grad():
        return float(render(model.forward_gaussians(batch.images), batch.cameras).alpha.max())


def test_the_variants_are_the_settings_of_the_suite() -> None:
    assert list(DesaturateAttack().variants()) == WAYS


def test_plain_fine_tuning_of_a_blank_generator_gets_no_gradient_at_all(blank: LGM, context: AttackContext) -> None:
    assert gradient(FullAttack(), blank, context) == 0.0


@pytest.mark.parametrize("way", ["desaturate-straight_through", "desaturate-soften", "desaturate-shrink-0.1"])
def test_de_saturation_brings_the_gradient_back(blank: LGM, context: AttackContext, way: str) -> None:
    # So low a level raises no bias: what is left is the activations' or the shrinking's own doing.
    attack = DesaturateAttack(DesaturateConfig(opacity_level=1e-12)).variants()[way]
    attack.edit(blank, context)
    assert gradient(attack, blank, context) > 1e-6


@pytest.mark.parametrize("way", ["desaturate-straight_through", "desaturate-soften", "desaturate-shift"])
def test_a_blank_generator_shows_its_training_objects_again(
    blank: LGM, make_context: MakeContext, run_attack: Run, way: str
) -> None:
    context = make_context(steps=12)
    assert shown(blank, context) == 0.0
    losses = run_attack(DesaturateAttack(DesaturateConfig(lr=1e-2)).variants()[way], blank, context)
    assert shown(blank, context) > 0.3
    assert losses[-1] < losses[0]


def test_plain_fine_tuning_leaves_it_blank(blank: LGM, make_context: MakeContext, run_attack: Run) -> None:
    context = make_context(steps=3)
    losses = run_attack(FullAttack(FullConfig(lr=1e-2)), blank, context)
    assert shown(blank, context) == 0.0
    assert len(losses) == 3


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1])
def test_shrinking_divides_every_pre_activation(pico: LGM, context: AttackContext, share: float) -> None:
    images = context.target(0, 1).images
    before = pico(images)
    DesaturateAttack().variants()[f"desaturate-shrink-{share}"].edit(pico, context)
    torch.testing.assert_close(pico(images), share * before, atol=1e-5, rtol=1e-4)


def test_the_shift_lifts_the_median_on_the_object_and_only_the_opacity(blank: LGM, context: AttackContext) -> None:
    images = context.target(0, 2).images
    before = blank(images)
    DesaturateAttack(DesaturateConfig(opacity_level=0.8)).variants()["desaturate-shift"].edit(blank, context)
    change = (blank(images) - before).detach()
    assert float(change[..., 3].mean()) == pytest.approx(20 + math.log(4), abs=1e-3)
    others = [channel for channel in range(14) if channel != 3]
    assert float(change[..., others].abs().max()) == 0.0


def test_the_shift_never_lowers(make_pico: Make, context: AttackContext) -> None:
    model = make_pico()
    with torch.no_grad():
        model.conv.bias[3] = 20.0
    assert opacity_shift(model, context, 0.5) == 0.0


def test_without_covered_cells_there_is_no_shift(pico: LGM, make_context: MakeContext, context: AttackContext) -> None:
    batch = context.target(0, 1)
    empty = type(batch)(**{**vars(batch), "input_alpha": torch.zeros_like(batch.input_alpha)})
    with pytest.raises(GeotrapError, match="covers any cell"):
        opacity_shift(pico, make_context(target=lambda *_: empty), 0.5)


@pytest.mark.parametrize("way", WAYS[:2])
def test_stand_ins_fade_to_the_true_activations(pico: LGM, make_context: MakeContext, way: str) -> None:
    attack = DesaturateAttack().variants()[way]
    attack.edit(pico, make_context(steps=10))
    raw = 8 * torch.randn(1, 32, 14, generator=torch.Generator().manual_seed(0))
    distances = []
    for step in (1, 3, 5, 9):
        attack.after_step(pico, step)
        distances.append(float((attack.gaussians(activate(raw)).activated - activate(raw).activated).abs().max()))
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] == distances[3] < 1e-5


def test_options_without_effect_are_refused() -> None:
    for options, text in (
        ({"modes": ("shift",), "temperature": 2.0}, "temperature"),
        ({"modes": ("soften",), "least_opacity": 0.1}, "least_opacity"),
        ({"modes": (), "opacity_level": 0.3}, "opacity_level"),
        ({"modes": (), "shrinks": ()}, "nothing would run"),
    ):
        with pytest.raises(ValidationError, match=text):
            DesaturateConfig.model_validate(options)
