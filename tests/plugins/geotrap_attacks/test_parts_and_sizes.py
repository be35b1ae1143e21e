"""Full fine-tuning of parts of the generator, and on few objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from geotrap_attacks.data_size import DataSizeAttack, DataSizeConfig, FewObjects
from geotrap_attacks.full import FullAttack
from geotrap_attacks.head_only import HeadOnlyAttack
from geotrap_attacks.layer_subset import LayerSubsetAttack, LayerSubsetConfig, relative_gradients
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from geotrap_cli.attacks import AttackContext, AttackSetting
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM

Make = Callable[..., LGM]


class TestDataSize:
    @given(st.integers(1, 40), st.sets(st.integers(1, 50), min_size=1, max_size=5), st.integers(0, 9))
    def test_exactly_so_many_objects_each_set_within_the_larger(self, objects: int, sizes: set[int], seed: int) -> None:
        ids = [f"o{index}" for index in range(objects)]
        attack = DataSizeAttack(DataSizeConfig(sizes=tuple(sorted(sizes))))
        variants = attack.available_variants(objects)
        chosen = [set(variant.target_objects(ids, seed)) for variant in variants.values()]
        assert [len(one) for one in chosen] == [*sorted(size for size in sizes if size < objects), objects]
        assert all(smaller < larger for smaller, larger in itertools.pairwise(chosen))
        assert list(variants)[-1] == "data_size-all"

    def test_sizes_are_capped_once_where_all_is_off(self) -> None:
        attack = DataSizeAttack(DataSizeConfig(sizes=(4, 64, 256), all_objects=False))
        assert list(attack.available_variants(9)) == ["data_size-4", "data_size-9"]

    def test_the_seed_chooses(self) -> None:
        ids = [f"o{index}" for index in range(20)]
        few = FewObjects(FullAttack(), 4)
        assert len({tuple(few.target_objects(ids, seed)) for seed in range(5)}) > 1

    def test_nothing_to_run_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="nothing would run"):
            DataSizeConfig(sizes=(), all_objects=False)


class TestParts:
    def test_head_alone(self, make_micro: Make) -> None:
        variants = HeadOnlyAttack().variants()
        names = [set(attack.prepare(make_micro())) for attack in variants.values()]
        assert names == [
            {"conv.weight", "conv.bias"},
            {"conv.weight", "conv.bias", "unet.conv_out.weight", "unet.conv_out.bias"},
        ]

    def test_only_the_head_can_change(self, make_micro: Make) -> None:
        model = make_micro()
        trained = HeadOnlyAttack().variants()["head_only-conv"].prepare(model)
        assert {name for name, value in model.named_parameters() if value.requires_grad} == set(trained)

    def test_a_fused_head_has_no_1x1_convolution(self, make_micro: Make) -> None:
        variants = HeadOnlyAttack().variants()
        fits = {layers: AttackSetting(steps=1, units=1, head_layers=layers) for layers in (1, 2)}
        assert "fused" in (variants["head_only-conv"].misfit(fits[1]) or "")
        assert variants["head_only-conv"].misfit(fits[2]) is None
        assert variants["head_only-conv_out"].misfit(fits[1]) is None
        trained = variants["head_only-conv_out"].prepare(make_micro().fuse_head())
        assert set(trained) == {"unet.conv_out.weight", "unet.conv_out.bias"}

    @pytest.mark.parametrize(
        ("subset", "prefix"), [("down", "unet.down_blocks."), ("mid", "unet.mid_block."), ("up", "unet.up_blocks.")]
    )
    def test_blocks(self, make_micro: Make, subset: str, prefix: str) -> None:
        model = make_micro()
        trained = LayerSubsetAttack().variants()[f"layer_subset-{subset}"].prepare(model)
        assert set(trained) == {name for name, _ in model.named_parameters() if name.startswith(prefix)}
        assert {name for name, value in model.named_parameters() if value.requires_grad} == set(trained)

    def test_attention_and_norms(self, make_micro: Make) -> None:
        variants = LayerSubsetAttack().variants()
        attention = variants["layer_subset-attention"].prepare(make_micro())
        assert {name.split(".attns.")[0] for name in attention} == {"unet.mid_block"}
        norm_bias = variants["layer_subset-norm_bias"].prepare(make_micro())
        assert {value.ndim for value in norm_bias.values()} == {1}
        assert {"conv.bias", "unet.norm_out.weight", "unet.norm_out.bias"} <= norm_bias.keys()
        assert len(norm_bias) == sum(value.ndim == 1 for value in make_micro().parameters())

    def test_units_by_name(self, make_micro: Make) -> None:
        config = LayerSubsetConfig(subsets=("units",), units=("unet.conv_in",))
        (attack,) = LayerSubsetAttack(config).variants().values()
        assert set(attack.prepare(make_micro())) == {"unet.conv_in.weight", "unet.conv_in.bias"}
        (wrong,) = LayerSubsetAttack(config.model_copy(update={"units": ("conv_im",)})).variants().values()
        with pytest.raises(UsageError, match="no unit 'conv_im'"):
            wrong.prepare(make_micro())

    @pytest.mark.parametrize(
        "options",
        [{"units": ("conv",)}, {"subsets": ("units",)}, {"subsets": ("down",), "share": 0.5}, {"subsets": ()}],
    )
    def test_options_that_would_do_nothing_are_refused(self, options: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            LayerSubsetConfig(**options)


class TestSensitivity:
    @pytest.fixture
    def context(self) -> AttackContext:
        """A loss that depends on the bias of the 1x1 head more than on anything else."""

        class Batch:
            images = torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(3))

        def loss(gaussians: Any, batch: Any) -> dict[str, torch.Tensor]:
            return {"rgb": gaussians.raw.square().mean()}

        def nothing(*_: Any) -> Any:
            raise UsageError("no objects")

        def target(step: int, size: int) -> Any:
            return Batch()

        return AttackContext(0, 4, 2, torch.device("cpu"), target, nothing, nothing, nothing, loss)  # type: ignore[arg-type]

    def test_larger_weights_are_relatively_less_sensitive(self, make_micro: Make, context: AttackContext) -> None:
        model = make_micro()
        before = relative_gradients(model, context)
        assert before.keys() == model.units().keys()
        assert all(value.grad is None for value in model.parameters())
        # A norm undoes the scale of what comes before it: the same function at ten times the weights.
        with torch.no_grad():
            for value in model.get_submodule("unet.conv_in").parameters():
                value.mul_(10)
        assert relative_gradients(model, context)["unet.conv_in"] < before["unet.conv_in"] / 5

    def test_most_and_least_sensitive_units_within_the_share(self, make_micro: Make, context: AttackContext) -> None:
        model = make_micro()
        scores, total = relative_gradients(model, context), sum(value.numel() for value in model.parameters())
        chosen = {}
        for subset in ("sensitive", "insensitive"):
            copy = make_micro()
            attack = LayerSubsetAttack().variants()[f"layer_subset-{subset}"]
            attack.edit(copy, context)
            trained = attack.prepare(copy)
            assert sum(value.numel() for value in trained.values()) <= 0.3 * total
            chosen[subset] = {unit for unit, names in copy.units().items() if names[0] in trained}
        assert max(scores, key=lambda unit: scores[unit]) in chosen["sensitive"]
        assert min(scores, key=lambda unit: scores[unit]) in chosen["insensitive"]

    def test_ranking_changes_no_weight(self, make_micro: Make, context: AttackContext) -> None:
        model, original = make_micro(), make_micro().state_dict()
        LayerSubsetAttack().variants()["layer_subset-sensitive"].edit(model, context)
        assert all(torch.equal(value, original[name]) for name, value in model.state_dict().items())

    def test_a_share_below_every_unit_is_an_error(self, make_micro: Make, context: AttackContext) -> None:
        attack = LayerSubsetAttack(LayerSubsetConfig(subsets=("sensitive",), share=1e-6)).variants()
        with pytest.raises(UsageError, match=r"'sensitive'.*has no parameters"):
            attack["layer_subset-sensitive"].prepare(make_micro())
