"""Attacks that change weights once: noise, rounding and cuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from geotrap_attacks._surgery import matrices, rms
from geotrap_attacks.prune import PruneAttack, PruneConfig, cut_magnitude, cut_rank
from geotrap_attacks.quantize import QuantizeAttack, round_to_nearest
from geotrap_attacks.weight_noise import WeightNoiseAttack, WeightNoiseConfig
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from geotrap_cli.attacks import Attack, AttackContext
from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.lgm.model import LGM

Make = Callable[..., LGM]


def edited(make_pico: Make, attack: Attack, context: AttackContext) -> tuple[LGM, LGM]:
    before, after = make_pico(), make_pico()
    attack.edit(after, context)
    return before, after


class TestQuantize:
    @given(st.integers(0, 1000), st.sampled_from([4, 8]))
    def test_no_number_moves_by_more_than_half_a_step(self, seed: int, bits: int) -> None:
        weight = torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(seed)).double()
        weight[0], weight[1] = 0, weight[1] * 1e-4
        rounded = round_to_nearest(weight, bits)
        steps = weight.flatten(1).abs().amax(dim=1) / (2 ** (bits - 1) - 1)
        assert bool(((rounded - weight).flatten(1).abs() <= 0.5 * steps[:, None] * (1 + 1e-9)).all())
        assert bool((rounded[0] == 0).all())
        levels = (rounded[2:].flatten(1) / steps[2:, None]).round()
        assert int(levels.abs().max()) == 2 ** (bits - 1) - 1
        torch.testing.assert_close(round_to_nearest(rounded, bits), rounded)

    @pytest.mark.parametrize("name", ["int8", "int4"])
    def test_only_weights_of_layers_are_rounded(self, make_pico: Make, context: AttackContext, name: str) -> None:
        before, after = edited(make_pico, QuantizeAttack().variants()[f"quantize-{name}"], context)
        layers = {key for key, _ in matrices(before)}
        changed = {
            key
            for (key, a), b in zip(before.named_parameters(), after.parameters(), strict=True)
            if not torch.equal(a, b)
        }
        assert changed == layers

    def test_coarser_formats_move_the_weights_further(self, make_pico: Make, context: AttackContext) -> None:
        moved = {}
        for name, attack in QuantizeAttack().variants().items():
            before, after = edited(make_pico, attack, context)
            pairs = zip(before.parameters(), after.parameters(), strict=True)
            moved[name] = sum(float((a - b).detach().square().sum()) for a, b in pairs)
        assert 0 < moved["quantize-bf16"] < moved["quantize-int8"] < moved["quantize-int4"]

    def test_bf16_keeps_eight_bits_of_each_number(self, make_pico: Make, context: AttackContext) -> None:
        before, after = edited(make_pico, QuantizeAttack().variants()["quantize-bf16"], context)
        for a, b in zip(before.parameters(), after.parameters(), strict=True):
            assert bool(((a - b).abs() <= a.abs() * 2.0**-8).all())
            assert torch.equal(b, b.bfloat16().float())


class TestPrune:
    @given(st.integers(0, 1000), st.sampled_from([0.03, 0.1, 0.3]))
    def test_the_share_that_is_cut_is_the_smallest(self, seed: int, share: float) -> None:
        weight = torch.randn(10, 4, 3, 3, generator=torch.Generator().manual_seed(seed))
        cut = cut_magnitude(weight, share)
        gone = cut == 0
        assert int(gone.sum()) == round(share * 360)
        assert float(weight[gone].abs().max()) <= float(weight[~gone].abs().min())
        assert torch.equal(cut[~gone], weight[~gone])

    def test_the_whole_model_loses_its_share(self, make_pico: Make, context: AttackContext) -> None:
        for share in (0.03, 0.1, 0.3):
            _, after = edited(make_pico, PruneAttack().variants()[f"prune-magnitude-{share}"], context)
            zeros = sum(int((weight == 0).sum()) for _, weight in matrices(after))
            total = sum(weight.numel() for _, weight in matrices(after))
            assert zeros / total == pytest.approx(share, rel=0.02)

    def test_dropping_rank_is_the_best_approximation_of_the_rank_that_is_left(self) -> None:
        weight = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)).double()
        values = torch.linalg.svdvals(weight)
        cut = cut_rank(weight, 0.3)
        assert int(torch.linalg.matrix_rank(cut)) == 4
        assert float((weight - cut).norm()) == pytest.approx(float(values[4:].norm()))

    def test_a_rank_one_matrix_of_the_asked_norm_is_added(self, make_pico: Make, context: AttackContext) -> None:
        attack = PruneAttack().variants()["prune-add_rank-0.1"]
        before, after = edited(make_pico, attack, context)
        _, again = edited(make_pico, attack, context)
        for (name, a), (_, b), (_, c) in zip(matrices(before), matrices(after), matrices(again), strict=True):
            added = (b - a).detach().double().flatten(1)
            assert float(added.norm()) == pytest.approx(0.1 * float(a.detach().norm()), rel=1e-3), name
            values = torch.linalg.svdvals(added)
            assert len(values) == 1 or float(values[1]) < 1e-4 * float(values[0])
            assert torch.equal(b, c)

    def test_nothing_to_cut_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="nothing would run"):
            PruneConfig(magnitude=(), drop_rank=(), add_rank=())
        assert list(PruneAttack(PruneConfig(magnitude=(), add_rank=())).variants()) == ["prune-drop_rank-0.1"]


class TestWeightNoise:
    def test_each_deviation_is_a_cell(self, make_pico: Make, context: AttackContext) -> None:
        variants = WeightNoiseAttack().variants()
        assert list(variants) == ["weight_noise-0.005", "weight_noise-0.01", "weight_noise-0.02"]
        for sigma, attack in zip((0.005, 0.01, 0.02), variants.values(), strict=True):
            before, after = edited(make_pico, attack, context)
            a, b = before.unet.mid_block.nets[0].conv1.weight, after.unet.mid_block.nets[0].conv1.weight
            assert rms(b - a) == pytest.approx(sigma * rms(a), rel=0.15)

    def test_both_sets_of_weights_move_the_same_way(self, make_pico: Make, context: AttackContext) -> None:
        attack = WeightNoiseAttack(WeightNoiseConfig(sigmas=(0.01,))).variants()["weight_noise-0.01"]

        def direction(seed: int) -> Tensor:
            model = make_pico(seed)
            before = model.unet.conv_in.weight.detach().clone()
            attack.edit(model, context)
            return torch.nn.functional.normalize((model.unet.conv_in.weight.detach() - before).flatten(), dim=0)

        assert float(direction(0) @ direction(1)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("options", [{"sigmas": ()}, {"sigmas": (0.01, 0.01)}, {"sigmas": (0.0,)}])
def test_wrong_values_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WeightNoiseConfig(**options)


def test_several_values_are_no_single_cell(pico: LGM, context: AttackContext) -> None:
    with pytest.raises(GeotrapError, match=r"attack\.weight_noise: 3 values of sigmas"):
        WeightNoiseAttack().edit(pico, context)
