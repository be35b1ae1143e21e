from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from geotrap_attacks.merge import MergeAttack, MergeConfig
from pydantic import ValidationError

from geotrap_cli.attacks import Attack, AttackContext
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator

Make = Callable[..., LGM]
MakeContext = Callable[..., AttackContext]


def walk(attack: Attack, model: LGM, context: AttackContext) -> None:
    """Steps after which every parameter is the step's number."""
    attack.edit(model, context)
    attack.prepare(model)
    for step in range(1, context.steps + 1):
        set_all(model, float(step))
        attack.after_step(model, step)


@torch.no_grad()
def set_all(model: LGM, value: float) -> None:
    for parameter in model.parameters():
        parameter.fill_(value)


def value(model: LGM) -> float:
    values = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.testing.assert_close(values, values[:1].expand_as(values))
    return float(values[0])


def test_a_soup_is_the_mean_of_the_second_half(pico: LGM, make_context: MakeContext) -> None:
    attack = MergeAttack().variants()["merge-soup"]
    walk(attack, pico, make_context(steps=14))
    with attack.as_released(pico):
        assert value(pico) == pytest.approx(10.5)
    assert value(pico) == 14
    attack.finish(pico)
    assert value(pico) == pytest.approx(10.5)


def test_before_the_first_checkpoint_a_soup_is_the_attacked_model(pico: LGM, context: AttackContext) -> None:
    attack = MergeAttack().variants()["merge-soup"]
    attack.edit(pico, context)
    attack.prepare(pico)
    set_all(pico, 5.0)
    with attack.as_released(pico):
        assert value(pico) == 5


def test_a_moving_average_lags_and_follows(pico: LGM, make_context: MakeContext) -> None:
    attack = MergeAttack(MergeConfig(decay=0.5)).variants()["merge-ema"]
    set_all(pico, 0.0)
    walk(attack, pico, make_context(steps=12))
    # For a line x = t an average with decay d lags by d / (1 - d) steps.
    attack.finish(pico)
    assert value(pico) == pytest.approx(11.0, abs=0.1)


def test_public_weights_are_mixed_in_by_their_share(make_pico: Make, make_context: MakeContext, tmp_path: Path) -> None:
    public = make_pico(seed=4)
    set_all(public, 20.0)
    save_generator(public, tmp_path / "public")
    variants = MergeAttack(MergeConfig(public=tmp_path / "public", averages=())).variants()
    assert list(variants) == ["merge-public-0.1", "merge-public-0.25", "merge-public-0.5"]
    for share, attack in zip((0.1, 0.25, 0.5), variants.values(), strict=True):
        model = make_pico()
        walk(attack, model, make_context(steps=2))
        attack.finish(model)
        assert value(model) == pytest.approx(2 + share * 18)


def test_public_weights_must_fit(pico: LGM, make_pico: Make, context: AttackContext, tmp_path: Path) -> None:
    save_generator(make_pico(norm_groups=4, down_channels=(16, 16), up_channels=(16, 16)), tmp_path / "wide")
    attack = MergeAttack(MergeConfig(public=tmp_path / "wide")).variants()["merge-public-0.1"]
    with pytest.raises(UsageError, match="another architecture"):
        attack.edit(pico, context)


def test_a_fused_generator_merges_with_public_weights_that_are_not(
    make_pico: Make, context: AttackContext, tmp_path: Path
) -> None:
    save_generator(make_pico(seed=4), tmp_path / "public")
    attack = MergeAttack(MergeConfig(public=tmp_path / "public")).variants()["merge-public-0.5"]
    model = make_pico().fuse_head()
    attack.edit(model, context)
    attack.prepare(model)
    attack.finish(model)
    assert not torch.equal(model.unet.conv_out.weight, make_pico().fuse_head().unet.conv_out.weight)


def test_options_without_effect_are_refused() -> None:
    with pytest.raises(ValidationError, match="alphas act with public weights only"):
        MergeConfig(alphas=(0.3,))
    with pytest.raises(ValidationError, match="decay acts in average ema only"):
        MergeConfig(averages=("soup",), decay=0.5)
    with pytest.raises(ValidationError, match="nothing would run"):
        MergeConfig(averages=())
    assert list(MergeAttack().variants()) == ["merge-ema", "merge-soup"]
