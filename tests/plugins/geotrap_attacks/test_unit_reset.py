from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from geotrap_attacks._health_terms import health_levels
from geotrap_attacks.unit_reset import UnitResetAttack, UnitResetConfig, rank_units
from pydantic import ValidationError
from torch import Tensor

from geotrap_cli.attacks import AttackContext
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator

Make = Callable[..., LGM]


def changed_units(before: LGM, after: LGM) -> list[str]:
    state = after.state_dict()
    return [
        unit
        for unit, names in before.units().items()
        if any(not torch.equal(before.get_parameter(name), state[name]) for name in names)
    ]


def config(**options: object) -> UnitResetConfig:
    return UnitResetConfig.model_validate({"objects": 1} | options)


def test_k_units_change_those_that_rank_first(make_pico: Make, context: AttackContext) -> None:
    order = rank_units(make_pico(), context, 1)
    assert sorted(order) == sorted(make_pico().units())
    # A fresh norm is what a random model has already, so only units with random weights can be seen to change.
    random = [unit for unit in order if "norm" not in unit]
    variants = UnitResetAttack(config(counts=(1, 6))).variants()
    assert list(variants) == ["unit_reset-1", "unit_reset-6"]
    model = make_pico()
    variants["unit_reset-6"].edit(model, context)
    assert set(changed_units(make_pico(), model)) == set(order[:6]) & set(random)
    assert set(order[:6]) & set(random)


def test_where_target_and_source_are_the_same_all_units_tie(make_pico: Make, context: AttackContext) -> None:
    # Every ratio is one, so the order is that of the network.
    model = make_pico()
    same = type(context)(**{**vars(context), "target": context.source})
    assert rank_units(model, same, 1) == list(model.units())


def test_units_rank_by_the_geometric_mean_of_target_over_source(pico: LGM, context: AttackContext) -> None:
    names, tensors = zip(*pico.named_parameters(), strict=True)

    def norms(images: Tensor) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {}
        for level in health_levels(pico.forward_gaussians(images)).values():
            grads = dict(zip(names, torch.autograd.grad(level.sum(), tensors, retain_graph=True), strict=True))
            for unit, members in pico.units().items():
                found.setdefault(unit, []).append(torch.cat([grads[name].flatten() for name in members]).norm())
        return {unit: torch.stack(values) for unit, values in found.items()}

    target, source = norms(context.target(0, 1).images), norms(context.source(0, 1).images)
    felt = torch.stack([(sum(side.values()) > 0) for side in (target, source)]).all(dim=0)
    ratios = {unit: float((target[unit] / source[unit])[felt].log().mean()) for unit in target}
    expected = sorted(ratios, key=lambda unit: -ratios[unit])
    assert rank_units(pico, context, 1)[:3] == expected[:3]


def test_named_units_are_reset_and_the_seed_decides_how(make_pico: Make, context: AttackContext) -> None:
    attack = UnitResetAttack(UnitResetConfig(units=("conv", "unet.mid_block.nets.0")))
    assert list(attack.variants()) == ["unit_reset-named"]
    first, second = make_pico(), make_pico()
    attack.edit(first, context)
    attack.edit(second, context)
    assert set(changed_units(make_pico(), first)) == {"conv", "unet.mid_block.nets.0"}
    assert changed_units(first, second) == []


def test_public_weights_take_the_place_of_random_ones(make_pico: Make, context: AttackContext, tmp_path: Path) -> None:
    save_generator(make_pico(seed=9), tmp_path / "public")
    model = make_pico()
    UnitResetAttack(UnitResetConfig(units=("unet.conv_in",), public=tmp_path / "public")).edit(model, context)
    assert torch.equal(model.unet.conv_in.weight, make_pico(seed=9).unet.conv_in.weight)
    assert changed_units(make_pico(), model) == ["unet.conv_in"]


def test_unknown_units_and_too_many_are_errors(pico: LGM, context: AttackContext) -> None:
    with pytest.raises(UsageError, match="no unit 'conv_inn'") as error:
        UnitResetAttack(UnitResetConfig(units=("conv_inn",))).edit(pico, context)
    assert "conv_in" in str(error.value.hint)
    attack = UnitResetAttack(config(counts=(99,))).variants()["unit_reset-99"]
    with pytest.raises(UsageError, match=f"99 of {len(pico.units())} units"):
        attack.edit(pico, context)


def test_ranking_options_are_idle_where_units_are_named() -> None:
    with pytest.raises(ValidationError, match="counts, objects rank units"):
        UnitResetConfig(units=("conv",), counts=(2,), objects=3)
