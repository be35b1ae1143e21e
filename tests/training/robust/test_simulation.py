"""Simulated attacks: what an attacker would do from here, computed once more by hand."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.adapters import Adapter, configured_adapters
from geotrap_cli.training.losses import with_total
from geotrap_cli.training.relative_distance import raw_distance
from geotrap_cli.training.robust.adaptations import FullAdaptation, LowRankAdaptation
from geotrap_cli.training.robust.head_attack import HeadAttack
from geotrap_cli.training.robust.simulation import AttackSimulator, Budget
from geotrap_cli.training.robust.streams import Stream
from geotrap_cli.training.robust.unrolled import UnrolledAttack
from geotrap_cli.training.surface import cell_colours

Open = Callable[..., Any]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def by_hand(simulator: AttackSimulator, model: LGM, step: int, budget: Budget) -> dict[str, Tensor]:
    """What fine-tuning a copy of the model changes, on the batches of the simulator."""
    attacked = copy.deepcopy(model).requires_grad_(True)
    parameters = list(attacked.parameters())
    optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, lr=budget.lr)
    if budget.optimizer == "adamw":
        optimizer = torch.optim.AdamW(parameters, lr=budget.lr, betas=(0.9, 0.95), weight_decay=0.0)
    for index in range(budget.steps):
        batch = simulator.sampler.batch(step * budget.steps + index, 2)
        terms = with_total(simulator.loss(activate(attacked(batch.images)), batch))
        optimizer.zero_grad()
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    own = dict(model.named_parameters())
    return {name: value.detach() - own[name].detach() for name, value in attacked.named_parameters()}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_full_fine_tuning_is_that_of_a_copy(open_mini: Open, optimizer: str) -> None:
    opened = open_mini()
    simulator, budget = AttackSimulator(opened.bench, opened.model, Stream.UNROLLED_VIEWS), Budget(2, optimizer, 0.01)
    found = simulator.run(3, FullAdaptation(opened.model), budget)
    expected = by_hand(simulator, opened.model, 3, budget)
    assert found.keys() == expected.keys()
    joined = [torch.cat([part.flatten() for part in deltas.values()]) for deltas in (found, expected)]
    assert (joined[0] - joined[1]).norm() < 0.02 * joined[1].norm()
    assert joined[1].norm() > 0.001
    assert not any(delta.requires_grad for delta in found.values())


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_attack_descends_and_the_weights_stay(open_mini: Open, kind: str) -> None:
    opened = open_mini("train.batch_size=4", "train.supervised_views=4")
    model, bench = opened.model, opened.bench
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    simulator = AttackSimulator(bench, model, Stream.UNROLLED_VIEWS)
    adapters = configured_adapters(model, bench.profile)
    adaptation = FullAdaptation(model) if kind == "full" else LowRankAdaptation(model, adapters, seeded())
    first = simulator._rendering_loss(0, adaptation.deltas()).item()
    simulator.run(0, adaptation, Budget(8, "adamw", 0.01))
    assert simulator._rendering_loss(0, adaptation.deltas()).item() < 0.98 * first
    assert all(value.equal(before[name]) and value.grad is None for name, value in model.named_parameters())


def test_who_regresses_attributes_comes_nearer_to_the_undefended_ones(open_mini: Open) -> None:
    opened = open_mini("train.batch_size=4")
    teacher = copy.deepcopy(opened.model)
    with torch.no_grad():
        for parameter in opened.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=seeded())
    simulator = AttackSimulator(opened.bench, opened.model, Stream.UNROLLED_VIEWS, teacher)
    adaptation = FullAdaptation(opened.model)
    first = simulator._attribute_loss(0, adaptation.deltas()).item()
    batch = simulator.sampler.batch(0, 4)
    own, taught = (activate(model(batch.images)).require_raw() for model in (opened.model, teacher))
    covered = cell_colours(batch, opened.model.splat_size)[1]
    assert first == pytest.approx(raw_distance(own, taught, covered).item(), rel=1e-4)
    simulator.run(0, adaptation, Budget(8, "adamw", 0.01, "attributes"))
    assert simulator._attribute_loss(0, adaptation.deltas()).item() < 0.9 * first
    assert all(value.grad is None for value in teacher.parameters())


def test_its_batches_are_views_of_defense_targets_other_than_those_of_the_traps(open_mini: Open) -> None:
    opened = open_mini("train.supervised_views=3")
    bench, seed = opened.bench, opened.bench.profile.train.seed
    simulator = AttackSimulator(bench, opened.model, Stream.UNROLLED_VIEWS)
    assert set(simulator.sampler.ids) == set(bench.splits.defense_target)
    batch = simulator.sampler.batch(0, 2)
    assert batch.rgb.shape[1] == 3
    assert not batch.images.equal(bench.sampler(bench.splits.defense_target, 3, seed).batch(0, 2).images)


def test_a_loss_that_is_not_finite_names_the_learning_rate(open_mini: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_mini()
    simulator = AttackSimulator(opened.bench, opened.model, Stream.UNROLLED_VIEWS)
    monkeypatch.setattr(simulator, "_rendering_loss", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(NonFiniteError, match="simulated attack is nan at step 8") as caught:
        simulator.run(7, FullAdaptation(opened.model), Budget(2, "sgd", 0.25))
    assert "0.25" in str(caught.value.hint)


class TestLowRank:
    def test_it_is_what_peft_computes(self, make_micro: Callable[..., LGM], images: Tensor) -> None:
        ensure_torchvision()
        import peft

        names = ["unet.conv_in", "unet.mid_block.attns.0.attn.qkv", "unet.down_blocks.0.downsample"]
        model, adapted = make_micro(), make_micro()
        low_rank = LowRankAdaptation(model, {name: Adapter(2, 4.0) for name in names}, seeded())
        peft.get_peft_model(adapted, peft.LoraConfig(r=2, lora_alpha=8, target_modules=names))
        with torch.no_grad():
            for index, tensor in enumerate(low_rank.parameters):
                tensor += 0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(index))
            for name, factors in zip(names, low_rank._factors.values(), strict=True):
                layer: Any = adapted.get_submodule(name)
                for part, value in ((layer.lora_A["default"], factors.down), (layer.lora_B["default"], factors.up)):
                    part.weight.copy_(value.view(part.weight.shape))
        own = dict(model.named_parameters())
        weights = {name: own[name] + delta for name, delta in low_rank.deltas().items()}
        mine = torch.func.functional_call(model, weights, (images,))
        assert torch.allclose(mine, adapted(images), atol=1e-4)
        assert not torch.allclose(mine, model(images), atol=1e-2)

    def test_it_starts_at_zero_with_the_uniform_numbers_of_peft(self, micro: LGM) -> None:
        low_rank = LowRankAdaptation(micro, {"unet.mid_block.nets.0.conv1": Adapter(4, 2.0)}, seeded())
        assert low_rank.deltas()["unet.mid_block.nets.0.conv1.weight"].abs().max() == 0
        down = low_rank.parameters[0].detach()
        bound = 1 / math.sqrt(8 * 9)
        assert 0.9 * bound < down.abs().max() <= bound
        assert down.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)

    def test_the_shift_has_at_most_the_rank(self, open_mini: Open) -> None:
        opened = open_mini("attack.lora.rank=2", "attack.lora.targets=qkv,conv1")
        adapters = configured_adapters(opened.model, opened.bench.profile)
        low_rank = LowRankAdaptation(opened.model, adapters, seeded())
        simulator = AttackSimulator(opened.bench, opened.model, Stream.UNROLLED_VIEWS)
        deltas = simulator.run(0, low_rank, Budget(3, "adamw", 0.05))
        assert {name.split(".")[-2] for name in deltas} == {"qkv", "conv1"}
        ranks = [int(torch.linalg.matrix_rank(delta.flatten(1), rtol=1e-4)) for delta in deltas.values()]
        assert max(ranks) == 2


def test_adapters_are_those_of_the_configured_attack(open_mini: Open) -> None:
    opened = open_mini("attack.lora.rank=3", "attack.lora.alpha=6.0", "attack.lora.targets=qkv")
    before = torch.get_rng_state()
    assert configured_adapters(opened.model, opened.bench.profile) == {
        "unet.mid_block.attns.0.attn.qkv": Adapter(rank=3, scale=2.0)
    }
    assert torch.get_rng_state().equal(before)
    assert not any("lora" in name for name, _ in opened.model.named_parameters())


class TestUnrolled:
    SETTINGS = (
        "robust.unrolled.kinds=lora,full",
        "robust.unrolled.optimizers=adamw,sgd",
        "robust.unrolled.lrs=[0.001, 0.01, 0.1]",
        "robust.unrolled.steps=3",
    )

    def attack(self, open_mini: Open, *settings: str) -> UnrolledAttack:
        opened = open_mini(*settings)
        return UnrolledAttack(opened.bench, opened.model, opened.bench.profile.robust.unrolled, opened.model)

    def test_each_step_draws_from_the_lists(self, open_mini: Open) -> None:
        attack = self.attack(open_mini, *self.SETTINGS)
        drawn = [attack.draw(step) for step in range(120)]
        assert {kind for kind, _ in drawn} == {"lora", "full"}
        assert {(kind, budget.optimizer, budget.lr) for kind, budget in drawn} == {
            (kind, optimizer, lr)
            for kind in ("lora", "full")
            for optimizer in ("adamw", "sgd")
            for lr in (1e-3, 1e-2, 0.1)
        }
        assert {budget.steps for _, budget in drawn} == {3}
        assert [attack.draw(step) for step in range(120)] == drawn
        both = self.attack(open_mini, *self.SETTINGS, "robust.unrolled.losses=rendering,attributes")
        told = [both.draw(step) for step in range(120)]
        assert {budget.loss for _, budget in told} == {"rendering", "attributes"}
        # A second loss changes nothing else of what is drawn.
        assert [(kind, dataclasses.replace(budget, loss="rendering")) for kind, budget in told] == drawn
        other = self.attack(open_mini, *self.SETTINGS, "train.seed=1")
        assert [other.draw(step) for step in range(120)] != drawn

    @pytest.mark.parametrize("kind", ["lora", "full"])
    def test_a_place_depends_on_seed_and_step_alone(self, open_mini: Open, images: Tensor, kind: str) -> None:
        attack = self.attack(open_mini, "robust.unrolled.steps=2", f"robust.unrolled.kinds={kind}")
        first = attack.place(1, images).weights
        torch.manual_seed(99)
        again, other = attack.place(1, images).weights, attack.place(2, images).weights
        assert all(first[name].equal(again[name]) for name in first)
        assert not all(first[name].equal(other[name]) for name in first)
        assert ("unet.norm_out.weight" in first) == (kind == "full")


@pytest.mark.parametrize("fused", ["false", "true"])
def test_a_head_attack_moves_the_head_alone(open_mini: Open, images: Tensor, fused: str) -> None:
    opened = open_mini("robust.head_attack.steps=2", f"model.fuse_head={fused}")
    attack = HeadAttack(opened.bench, opened.model, opened.bench.profile.robust.head_attack)
    place, own = attack.place(0, images), dict(opened.model.named_parameters())
    head = {"unet.conv_out.weight", "unet.conv_out.bias"} | (
        {"conv.weight", "conv.bias"} if fused == "false" else set()
    )
    assert place.weights.keys() == head
    assert all(not place.weights[name].equal(own[name]) for name in head)
