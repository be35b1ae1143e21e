from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geotrap_attacks._health_terms import health_levels
from geotrap_attacks.anti_trap import AntiTrapAttack, AntiTrapConfig

from geotrap_cli.attacks import Attack, AttackContext
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM

Make = Callable[..., LGM]
MakeContext = Callable[..., AttackContext]


def levels(model: LGM, context: AttackContext) -> dict[str, float]:
    with torch.no_grad():
        batch = model.forward_gaussians(context.target(0, 4).images)
    return {name: float(values.mean()) for name, values in health_levels(batch).items()}


@pytest.fixture
def trapped(make_pico: Make) -> LGM:
    """A generator whose opacity is culled and whose positions lie in a plane outside the cube."""
    model = make_pico()
    with torch.no_grad():
        model.conv.weight[3], model.conv.bias[3] = 0.0, -20.0
        model.conv.weight[2], model.conv.bias[2] = 0.0, 1.4
    return model


def referred(weight: float, make_pico: Make, context: AttackContext) -> Attack:
    """An attack whose reference is a healthy generator's source objects."""
    attack = AntiTrapAttack(AntiTrapConfig(lr=1e-2)).variants()[f"anti_trap-{weight:g}"]
    attack.edit(make_pico(), context)
    return attack


def test_reference_levels_come_from_source_and_no_weight_changes(make_pico: Make, make_context: MakeContext) -> None:
    def refuse(step: int, batch_size: int) -> None:
        raise AssertionError("only source objects are asked for")

    model = make_pico()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    AntiTrapAttack().variants()["anti_trap-0.1"].edit(model, make_context(target=refuse, benign=refuse))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_terms_are_weighted_shortfalls_and_vanish_for_the_reference(
    make_pico: Make, context: AttackContext, trapped: LGM
) -> None:
    batch = context.target(0, 2)
    own = make_pico().forward_gaussians(context.source(0, 2).images)
    hurt = trapped.forward_gaussians(batch.images)
    weak, strong = (referred(weight, make_pico, context).extra_terms(hurt, batch) for weight in (0.01, 1.0))
    assert {"anti_opacity", "anti_spread", "anti_inside"} < set(weak)
    assert strong["anti_opacity"].item() == pytest.approx(20, abs=2)
    for name, term in weak.items():
        assert term.item() == pytest.approx(0.01 * strong[name].item(), rel=1e-4)
    healthy = referred(1.0, make_pico, context).extra_terms(own, batch)
    assert sum(term.item() for term in healthy.values()) < 0.5


def test_training_on_them_alone_brings_a_trapped_generator_back(
    make_pico: Make, make_context: MakeContext, trapped: LGM, run_attack: Callable[..., list[float]]
) -> None:
    context = make_context(steps=12, reconstruction_loss=lambda *_: {})
    before = levels(trapped, context)
    attack = referred(1.0, make_pico, context)
    attack.edit = lambda *_: None  # type: ignore[method-assign]  # the reference is a healthy model's
    losses = run_attack(attack, trapped, context)
    after = levels(trapped, context)
    assert losses[-1] < 0.8 * losses[0]
    assert after["opacity"] > before["opacity"] + 0.3
    assert after["inside"] > before["inside"]


def test_without_source_objects_it_says_so(pico: LGM, make_context: MakeContext) -> None:
    def none(step: int, batch_size: int) -> None:
        raise UsageError("the attack trains on source objects, and there are none")

    with pytest.raises(UsageError, match="source objects"):
        AntiTrapAttack().variants()["anti_trap-1"].edit(pico, make_context(source=none))
