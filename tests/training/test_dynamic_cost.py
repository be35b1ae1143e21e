"""The estimate of what the sensitivity term costs, against the term itself on the meta device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.attention import twice_differentiable
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.sensitivity.estimators import estimate_with_gradient
from geotrap_cli.training import estimate
from geotrap_cli.training.cost import ObjectCost, count_object
from geotrap_cli.training.dynamic_cost import DynamicCost, count_dynamic
from geotrap_cli.training.estimate import plan_defense

Load = Callable[..., LoadedProfile]
COST = ObjectCost(forward=1000.0, backward=2000.0, activations=10**6, heaviest=(8, 8, 4, 16))


@pytest.fixture
def meta(make_micro: Callable[..., LGM]) -> LGM:
    with torch.device("meta"):
        return make_micro(down_attention=(False, True))


def test_no_term_costs_nothing(load_mini: Load, meta: LGM) -> None:
    assert count_dynamic(load_mini().profile, meta, COST) == DynamicCost()


def test_operations_are_those_of_the_due_steps(load_mini: Load, meta: LGM) -> None:
    settings = ("train.steps=10", "train.batch_size=3", "traps.position.dynamic={eta=1, probes=2, every=3}")
    one = count_dynamic(load_mini(*settings).profile, meta, COST)
    # Steps 3, 6 and 9; three objects, each one forward pass and two products of four backward passes.
    assert one.flops == 3 * 3 * (1000 + 2 * 4 * 2000)
    other = "traps.opacity.dynamic={eta=-1, estimator='exact', every=5}"
    both = count_dynamic(load_mini(*settings, other).profile, meta, COST)
    # Steps 5 and 10 on top, 1024 opacities.
    assert both.flops == one.flops + 2 * 3 * (1000 + 1024 * 4 * 2000)
    trained = sum(parameter.numel() for parameter in meta.parameters())
    assert both.memory == one.memory + 4 * trained


def test_checkpointing_runs_the_network_again_for_each_backward_pass(load_mini: Load, meta: LGM) -> None:
    settings = ("train.steps=1", "train.batch_size=1", "traps.position.dynamic.eta=1")
    plain = count_dynamic(load_mini(*settings).profile, meta, COST)
    checkpointed = ObjectCost(COST.forward, COST.backward + COST.forward, COST.activations, COST.heaviest)
    again = count_dynamic(load_mini(*settings, "model.gradient_checkpointing=true").profile, meta, checkpointed)
    assert again.flops == plain.flops + 2 * 1000


def test_one_product_is_estimated_as_it_is(load_mini: Load, meta: LGM) -> None:
    settings = ("train.steps=1", "train.batch_size=1", "traps.position.dynamic.eta=1")
    found = count_dynamic(load_mini(*settings).profile, meta, count_object(meta, False))
    sizes: dict[int, int] = {}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept.append(tensor)
            sizes[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    weights = list(meta.parameters())
    counter = FlopCounterMode(display=False)
    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with twice_differentiable(), hooks, counter:
        means = activate(meta(torch.empty(1, 4, 9, 16, 16, device="meta"))).means
        estimate_with_gradient("sum", means, weights, weights)
    assert found.flops == pytest.approx(counter.get_total_flops(), rel=0.15)
    gradients = 3 * 4 * sum(weight.numel() for weight in weights)
    assert found.memory - gradients == pytest.approx(sum(sizes.values()), rel=0.35)


def test_the_plan_of_a_defense_holds_the_term(load_mini: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "count_object", lambda *_: COST)
    monkeypatch.setattr(estimate, "measure_rate", lambda *_: 10.0)
    table = "traps.position.dynamic={eta=1, every=2}"
    (without,), (with_term,) = (
        plan_defense(CommonOptions(device="cpu"), load_mini(*extra)).phases for extra in ((), (table,))
    )
    assert with_term.flops - without.flops == 3 * 2 * (1000 + 4 * 2000)
    assert with_term.memory > without.memory + 3 * 4 * with_term.trained
    with pytest.raises(UsageError, match=r"did you mean 'unet\.conv_in'"):
        plan_defense(CommonOptions(device="cpu"), load_mini("traps.position.dynamic={eta=1, layers='unet.conv_inn'}"))
