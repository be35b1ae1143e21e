"""The parts that methods are made of, against numbers worked out by hand or in another way."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from geotrap_defenses._features import find_head, find_layer, find_layers, sample_rows, watch
from geotrap_defenses._mmd import mmd
from geotrap_defenses.condition_number import (
    condition,
    ill_conditioned,
    spectrum,
    well_conditioned,
)
from geotrap_defenses.gausslock import GausslockConfig, GausslockDefense
from geotrap_defenses.lox import low_rank
from geotrap_defenses.mlac import patches, undecoded
from geotrap_defenses.repnoise import noise_distance
from geotrap_defenses.sophon import SophonConfig
from geotrap_defenses.tar import TarConfig, distance
from pydantic import BaseModel, ValidationError
from torch.nn import functional as F

from geotrap_cli.errors import UsageError
from geotrap_cli.models.loading import save_generator
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training.defense import load_defense
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.workbench import open_model, open_workbench


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TestMmd:
    def test_two_points(self) -> None:
        # One distance d² = 4, mean over the two ordered pairs 4: k = Σ exp(−4/(4·2^i)).
        kernel = sum(math.exp(-1 / 2.0**power) for power in (-2, -1, 0, 1, 2))
        found = mmd(torch.tensor([[0.0]]), torch.tensor([[2.0]]))
        assert found.item() == pytest.approx(2 * 5 - 2 * kernel)

    def test_it_is_zero_for_equal_sets_and_grows_with_their_distance(self) -> None:
        rows = numbers(20, 3)
        values = [mmd(rows, rows + shift).item() for shift in (0.0, 0.5, 1.0, 2.0)]
        assert values[0] == pytest.approx(0, abs=1e-12)
        assert values == sorted(values)
        assert mmd(torch.ones(3, 2), torch.ones(4, 2)).item() == 0.0

    def test_its_gradient_takes_the_bandwidth_as_constant(self) -> None:
        first, second = numbers(3, 2).requires_grad_(), numbers(4, 2, seed=1)
        rows = torch.cat((first, second)).detach()
        bandwidth = torch.cdist(rows, rows).square().sum() / (7 * 6)

        def by_hand(x: torch.Tensor) -> torch.Tensor:
            def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
                d = (a[:, None] - b[None]).square().sum(-1)
                return sum(torch.exp(-d / (bandwidth * 2.0**i)) for i in range(-2, 3)).mean()  # type: ignore[union-attr]

            return k(x, x) + k(second, second) - 2 * k(x, second)

        (found,) = torch.autograd.grad(mmd(first, second), first)
        (expected,) = torch.autograd.grad(by_hand(first), first)
        assert torch.allclose(found, expected, rtol=1e-8)

    def test_a_nan_stays(self) -> None:
        assert mmd(torch.tensor([[math.nan]]), torch.tensor([[1.0]])).isnan()


class TestConditionNumbers:
    def test_of_a_known_spectrum(self) -> None:
        rows = torch.diag(torch.tensor([1.0, 2.0, 4.0])) * math.sqrt(3)
        eigenvalues = spectrum(rows)
        assert eigenvalues.tolist() == pytest.approx([1, 4, 16], rel=1e-5)
        assert condition(eigenvalues).item() == pytest.approx(16, rel=1e-5)
        assert well_conditioned(eigenvalues).item() == pytest.approx(128 - (1 + 16 + 256) / 6, rel=1e-5)
        assert ill_conditioned(eigenvalues).item() == pytest.approx(1 / ((1 + 16 + 256) / 6 - 0.5), rel=1e-5)

    def test_descent_makes_features_well_or_ill_conditioned(self) -> None:
        for loss, worse in ((well_conditioned, False), (ill_conditioned, True)):
            rows = numbers(30, 4).requires_grad_()
            before = condition(spectrum(rows)).item()
            for _ in range(60):
                (gradient,) = torch.autograd.grad(loss(spectrum(rows)), rows)
                rows = (rows - 0.3 * gradient / gradient.norm()).detach().requires_grad_()
            after = condition(spectrum(rows)).item()
            assert (after > 1.2 * before) if worse else (after < before / 1.2)

    def test_directions_that_are_absent_do_not_count(self) -> None:
        rows = torch.cat((numbers(5, 3), torch.zeros(5, 2, dtype=torch.float64)), dim=1)
        for measure in (condition, ill_conditioned):
            assert measure(spectrum(rows)).item() == pytest.approx(measure(spectrum(rows[:, :3])).item(), rel=1e-4)

    @pytest.mark.parametrize("rank", [1, 2, 8])
    def test_descent_makes_features_of_a_low_rank_ill_conditioned(self, rank: int) -> None:
        # The mean over all 64 would lie below the square of the least one, and descent would level them.
        rows = (numbers(40, rank) @ numbers(rank, 64, seed=1)).requires_grad_()
        loss = ill_conditioned(spectrum(rows))
        (gradient,) = torch.autograd.grad(loss, rows)
        assert loss > 0
        assert loss.isfinite()
        assert gradient.isfinite().all()
        if rank > 1:
            moved = rows.detach() - 1e-3 * gradient / gradient.norm()
            assert condition(spectrum(moved)[-rank:]) > condition(spectrum(rows)[-rank:])

    def test_two_rows_have_two_directions(self) -> None:
        rows = torch.zeros(2, 64, dtype=torch.float64)
        rows[0, 0], rows[1, 1] = 3.0, 1.0
        assert ill_conditioned(spectrum(rows)).item() == pytest.approx(2 / ((4.5**2 + 0.5**2) / 2 - 0.5**2), rel=1e-5)

    def test_rows_that_are_not_finite_are_nan(self) -> None:
        for value in (math.nan, math.inf):
            assert spectrum(torch.tensor([[value, 1.0], [0.0, 1.0]])).isnan().all()


class TestMlac:
    def test_patches_are_those_of_unfold(self) -> None:
        features = numbers(3, 2, 4, 5)
        everything = torch.arange(3 * 4 * 5)
        found = patches(features, 3, everything).view(-1, 3, 3, 2).permute(0, 3, 1, 2).flatten(1)
        expected = F.unfold(features, 3, padding=1).mT.flatten(0, 1)
        assert torch.equal(found, expected)

    def test_what_a_linear_head_decodes_earns_nothing(self) -> None:
        features = numbers(200, 4)
        targets = features @ numbers(4, 2, seed=1) + 3
        assert undecoded(features, targets, 1e-9).item() == pytest.approx(0, abs=1e-9)
        assert undecoded(features, numbers(200, 2, seed=2), 1e-9).item() > 0.9
        assert undecoded(features, torch.ones(200, 2, dtype=torch.float64), 1e-3).item() == 0.0

    def test_what_is_not_finite_is_nan(self) -> None:
        for value in (math.nan, math.inf):
            bad = numbers(20, 2).index_fill(0, torch.tensor([3]), value)
            assert undecoded(bad, numbers(20, 2), 1e-3).isnan()
            assert undecoded(numbers(20, 2), bad, 1e-3).isnan()

    def test_the_gradient_is_that_of_the_ridge_objective(self) -> None:
        # With the coefficients solved anew in every evaluation; a penalty of nothing makes score and objective one.
        features, targets = numbers(12, 3).requires_grad_(), numbers(12, 2, seed=1)
        assert torch.autograd.gradcheck(lambda x: undecoded(x, targets, 1e-12), features, atol=1e-5)


def test_the_best_approximation_of_a_rank() -> None:
    left, right = numbers(6, 2), numbers(2, 12, seed=1)
    change = (left @ right).view(6, 3, 2, 2)
    assert torch.allclose(low_rank(change, 2), change)
    rest = (change - low_rank(change, 1)).flatten(1)
    assert torch.linalg.matrix_norm(rest, 2).item() == pytest.approx(
        torch.linalg.svdvals(change.flatten(1))[1].item(), rel=1e-6
    )


def test_hooks_go_when_the_watch_ends_and_lists_stand_for_their_members(micro: Any) -> None:
    layers = find_layers(micro, ["unet.down_blocks", "unet.mid_block"], "x")
    assert layers == ["unet.down_blocks.0", "unet.down_blocks.1", "unet.mid_block"]
    with watch(micro, layers) as features:
        micro(torch.zeros(1, 4, 9, 16, 16))
    assert set(features.by_name) == set(layers)
    first = features.by_name["unet.mid_block"]
    micro(torch.ones(1, 4, 9, 16, 16))
    assert features.by_name["unet.mid_block"] is first
    assert not any(module._forward_hooks for module in micro.modules())


def test_layers_that_are_not_named_are_the_generator_s_own(micro: Any) -> None:
    assert find_layer(micro, None, "x") == "unet.mid_block"
    assert find_head(micro, None, "x") == "unet.conv_out"
    assert find_layer(micro, "unet.conv_in", "x") == "unet.conv_in"
    with pytest.raises(UsageError, match=r"defense\.tar\.layer: the generator has no module 'unet\.mid_blok'"):
        find_layer(micro, "unet.mid_blok", "defense.tar.layer")
    assert find_layers(micro, [], "x") == list(micro.stages)
    assert find_layers(micro, ["unet.mid_block.attns", "unet.mid_block.nets"], "x") == [
        "unet.mid_block.attns.0", "unet.mid_block.nets.0", "unet.mid_block.nets.1"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("find", "name", "told"),
    [
        (find_layer, "unet.down_blocks", "the generator never calls 'unet.down_blocks'"),
        (find_head, "unet.mid_block.attns", "the generator never calls 'unet.mid_block.attns'"),
        (find_layer, "unet.mid_block.attns.0.attn.proj", "puts out has 3 dimensions, a feature map has 4"),
        (find_head, "unet.mid_block.attns.0.attn.proj", "takes in has 3 dimensions, a feature map has 4"),
        # A list of places for attention, without any there.
        (lambda model, name, option: find_layers(model, [name], option), "unet.down_blocks.0.attns", "never calls"),
        (lambda model, name, option: find_layers(model, [name], option), "unet.mid_block.attns.0.attn", "dimensions"),
    ],
)
def test_modules_without_a_feature_map_are_refused(micro: Any, find: Any, name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        find(micro, name, "defense.x.layer")
    assert str(caught.value).startswith("defense.x.layer: ")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in micro.modules())


def test_rows_are_pixels() -> None:
    features = torch.arange(2 * 3 * 2 * 2.0).view(2, 3, 2, 2)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(sample_rows(features, 99, generator), features.permute(0, 2, 3, 1).reshape(8, 3))
    rows = sample_rows(features, 3, generator)
    everything = sample_rows(features, 99, generator).tolist()
    assert len(rows) == 3
    assert all(row in everything for row in rows.tolist())


def test_features_like_noise_are_near_noise() -> None:
    def found(features: torch.Tensor) -> float:
        return noise_distance(features, 64, torch.Generator().manual_seed(5)).item()

    assert found(numbers(2, 3, 8, 8).float()) < 0.3 * found(numbers(2, 3, 8, 8).float() * 0.01 + 4)


def test_the_distance_of_hidden_features_has_a_gradient_at_zero() -> None:
    features = torch.ones(1, 2, 3, 3).requires_grad_()
    distance(features, torch.ones(1, 2, 3, 3)).backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert distance(torch.ones(1, 2, 1, 1) * 3, torch.zeros(1, 2, 1, 1)).item() == pytest.approx(math.sqrt(18))


@pytest.fixture
def opened(load_mini: Callable[..., LoadedProfile]) -> Callable[..., DefenseContext]:
    """What a defense of the mini profile works with."""

    def make(*overrides: str) -> DefenseContext:
        profile, cpu = load_mini(*overrides).profile, torch.device("cpu")
        model, teacher = open_model(profile, cpu), open_model(profile, cpu)
        trained = select_parameters(model, (), freeze_head=True)
        return DefenseContext(open_workbench(profile, cpu, model), model, teacher, trained, None)

    return make


def test_gausslock_joins_five_traps(opened: Callable[..., DefenseContext]) -> None:
    context = opened()
    images = torch.randn(2, 4, 9, 16, 16, generator=torch.Generator().manual_seed(3))
    found = {}
    for aggregation in ("mean", "logsumexp"):
        defense = GausslockDefense(GausslockConfig(aggregation=aggregation))
        defense.prepare(context)
        gaussians = context.gaussians(images)
        losses = torch.stack([trap.loss(gaussians) for trap in defense.traps.values()])
        found[aggregation] = defense.locked(gaussians).item()
    assert losses.shape == (5, 2)
    assert found["mean"] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert found["logsumexp"] == pytest.approx((0.25 * (losses / 0.25).logsumexp(0)).mean().item(), rel=1e-5)


def test_ntl_is_its_formula(opened: Callable[..., DefenseContext]) -> None:
    context = opened("train.batch_size=1")
    defense = build_plugin("geotrap.defenses", "ntl", {"cap": 0.5, "weight": 20.0})
    before = [parameter.clone() for parameter in context.parameters]
    defense.prepare(context)
    for parameter, was in zip(context.parameters, before, strict=True):
        size = was.square().mean().sqrt()
        assert 0 < (parameter - was).square().mean().sqrt() < 3e-4 * size or size == 0
    objective = defense.objective(context)
    terms = objective(0)
    pushed = 0.1 * terms["target_distance"] * terms["mmd"]
    kept = 400 * terms["distill"]
    assert terms["total"].item() == pytest.approx((0.8 * kept - 0.2 * 20 * pushed).item(), rel=1e-4)
    capped = build_plugin("geotrap.defenses", "ntl", {"cap": 1e-12, "weight": 20.0})
    capped.prepare(context)
    assert capped.objective(context)(0)["pushed"].item() == pytest.approx(1e-12)


def test_noise_has_the_length_it_is_told(opened: Callable[..., DefenseContext], tmp_path: Path) -> None:
    context = opened()
    build_plugin("geotrap.defenses", "noise", {"sigma": 0.1}).prepare(context)
    before = dict(context.teacher.named_parameters())
    for name, parameter in context.trained.items():
        size, moved = before[name].square().mean().sqrt(), (parameter - before[name]).square().mean().sqrt()
        assert moved.item() == pytest.approx(0.1 * size.item(), rel=0.8)
    save_generator(context.model, tmp_path / "model")
    again = opened()
    build_plugin("geotrap.defenses", "noise", {"like": str(tmp_path)}).prepare(again)
    unit = [name for name in before if name.startswith("unet.mid_block.nets.0.")]
    own, other = dict(again.model.named_parameters()), dict(context.model.named_parameters())
    lengths = [
        torch.cat([(weights[name] - before[name]).flatten() for name in unit]).norm().item() for weights in (own, other)
    ]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-4)
    assert not own[unit[0]].equal(other[unit[0]])


def test_lox_extends_a_finished_defense(opened: Callable[..., DefenseContext], tmp_path: Path) -> None:
    defended = opened()
    build_plugin("geotrap.defenses", "noise", {"sigma": 0.1}).prepare(defended)
    save_generator(defended.model, tmp_path / "model")
    context = opened()
    build_plugin("geotrap.defenses", "lox", {"defended": str(tmp_path), "factor": 0.5, "rank": 2}).prepare(context)
    before, after = (dict(model.named_parameters()) for model in (context.teacher, defended.model))
    for name, parameter in context.model.named_parameters():
        change = after[name] - before[name]
        expected = after[name] + (0.5 * low_rank(change, 2) if change.ndim > 1 else 0)
        assert torch.allclose(parameter, expected, atol=1e-6), name


@pytest.mark.parametrize("config", [SophonConfig, TarConfig])
def test_simulated_attackers_have_learning_rates_above_zero(config: type[BaseModel]) -> None:
    for rates in ((), (1e-3, 0.0), (-1e-4,)):
        with pytest.raises(ValidationError, match="lrs"):
            config(lrs=rates)


@pytest.mark.parametrize(
    ("key", "options", "told"),
    [
        ("gausslock", {"energy_cap": -1.0}, "energy_cap"),
        ("mlac", {"cap": 1.5}, "cap"),
        ("noise", {"like": "x", "sigma": 0.1}, "sigma does not act where `like`"),
        ("repnoise", {"noise_weight": 0, "ascent_weight": 0}, "both 0"),
        ("repnoise", {"noise_weight": 0, "layers": ["unet.mid_block"]}, "layers acts where noise_weight > 0 only"),
        ("repnoise", {"noise_weight": 0, "samples": 16}, "samples acts where noise_weight > 0 only"),
        ("sophon", {"inner_steps": 1, "discount": 0.5}, "discount acts where inner_steps > 1 only"),
        ("tar", {"safeguard": 1.0}, "safeguard"),
        ("tar", {"hidden_weight": 0, "layer": "unet.mid_block"}, "layer acts where hidden_weight > 0 only"),
        ("tar", {"inner_steps": 4, "decay": 0.5}, "decay acts where every < inner_steps only"),
    ],
)
def test_options_that_would_not_act_are_refused(key: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        build_plugin("geotrap.defenses", key, options)


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("gausslock", {"energy_cap": 0, "aggregation": "mean"}),
        ("noise", {"like": "x"}),
        ("repnoise", {"noise_weight": 0}),
        ("sophon", {"inner_steps": 1}),
        ("tar", {"hidden_weight": 0, "inner_steps": 2}),
    ],
)
def test_defaults_may_be_stated_where_they_do_not_act(key: str, options: dict[str, Any]) -> None:
    # As a resolved profile does.
    config = build_plugin("geotrap.defenses", key, options).config
    stated = config.model_dump(mode="json", exclude_none=True)
    assert build_plugin("geotrap.defenses", key, stated).config == config


def test_gausslock_without_a_cap_treats_no_gradient(opened: Callable[..., DefenseContext]) -> None:
    context = opened("defense.method=gausslock", "defense.gausslock.energy_cap=0")
    defense: Any = load_defense(context.bench.profile)
    defense.prepare(context)
    assert defense.treatments == []
