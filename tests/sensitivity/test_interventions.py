"""Taking a unit out of an attack, on real attacks and a tiny generator."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from geotrap_attacks.full import FullAttack
from geotrap_attacks.lora import LoraAttack
from torch import Tensor, nn

from geotrap_cli.attacks import Attack
from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.sensitivity.interventions import Held, in_unit, plain_name, reset_unit, roll_back
from geotrap_cli.sensitivity.reach import trained_units

UNIT = "unet.mid_block.attns.0.attn.qkv"
ATTACKS = [FullAttack, LoraAttack]


def values(model: LGM) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def images(model: LGM) -> Tensor:
    return torch.randn(1, 4, 9, model.input_size, model.input_size, generator=torch.Generator().manual_seed(0))


def train(model: LGM, trained: dict[str, nn.Parameter], attack: Attack) -> None:
    """Two steps that move everything they may move."""
    optimizer = attack.optimizer(list(trained.values()))
    for _ in range(2):
        optimizer.zero_grad()
        model(images(model)).square().mean().backward()
        optimizer.step()


@pytest.fixture(params=ATTACKS, ids=lambda kind: kind.key)
def attack(request: pytest.FixtureRequest) -> Attack:
    return request.param()


def test_a_held_unit_gets_no_update_and_all_others_do(micro: LGM, attack: Attack) -> None:
    assert UNIT in trained_units(micro, type(attack)())
    held = Held(attack, UNIT)
    trained = held.prepare(micro)
    assert trained
    assert not any(in_unit(micro, name, UNIT) for name in trained)
    before = values(micro)
    train(micro, trained, held)  # type: ignore[arg-type]
    after = values(micro)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(in_unit(micro, name, UNIT) for name in moved)
    assert any("nets" in name for name in moved)
    held.check_held(micro)


def test_holding_a_unit_leaves_the_random_start_of_the_others(make_micro: Callable[..., LGM]) -> None:
    starts = []
    for unit in (None, UNIT):
        model = make_micro()
        torch.manual_seed(7)
        Held(LoraAttack(), unit).prepare(model)
        starts.append(values(model))
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


def test_an_attack_that_moves_the_unit_by_other_means_is_found_out(micro: LGM, attack: Attack) -> None:
    held = Held(attack, UNIT)
    held.prepare(micro)
    with torch.no_grad():
        next(value for name, value in micro.named_parameters() if in_unit(micro, name, UNIT)).add_(1.0)
    with pytest.raises(GeotrapError, match=f"moved {UNIT}, which was frozen"):
        held.check_held(micro)


def test_everything_else_is_the_attack_itself_also_in_a_copy() -> None:
    inner = LoraAttack()
    held = copy.deepcopy(Held(inner, UNIT))
    assert held.key == "lora"
    assert held.config == inner.config
    assert held.phases(5) == inner.phases(5)
    with pytest.raises(AttributeError):
        _ = held.nothing


def test_reset_gives_one_unit_a_fresh_start(micro: LGM, make_micro: Callable[..., LGM]) -> None:
    before = values(micro)
    state = torch.random.get_rng_state()
    reset_unit(micro, UNIT, seed=3)
    after = values(micro)
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(micro.units()[UNIT])
    assert torch.equal(torch.random.get_rng_state(), state)
    again, other = make_micro(), make_micro()
    reset_unit(again, UNIT, seed=3)
    reset_unit(other, UNIT, seed=4)
    (name,) = micro.units()[UNIT]
    assert torch.equal(values(again)[name], after[name])
    assert not torch.equal(values(other)[name], after[name])
    # As a fresh generator has it, not just anything.
    assert after[name].std() == pytest.approx(float(before[name].std()), rel=0.3)


def test_rolling_back_one_unit_after_the_other_gives_the_released_generator(micro: LGM, attack: Attack) -> None:
    released, view = values(micro), images(micro)
    with torch.no_grad():
        wanted = micro(view)
    held = Held(attack, None)
    train(micro, held.prepare(micro), attack)
    with torch.no_grad():
        assert not torch.allclose(micro(view), wanted)
    units = {name: set(members) for name, members in micro.units().items()}
    attacked = values(micro)
    roll_back(micro, UNIT, released, held.began)
    moved = {plain_name(name) for name, value in values(micro).items() if not torch.equal(value, attacked[name])}
    assert moved
    assert all(in_unit(micro, name, UNIT) for name in moved)
    for unit in units:
        roll_back(micro, unit, released, held.began)
    with torch.no_grad():
        torch.testing.assert_close(micro(view), wanted, rtol=0, atol=0)
