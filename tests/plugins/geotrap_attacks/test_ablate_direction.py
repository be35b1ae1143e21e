from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from geotrap_attacks.ablate_direction import (
    AblateDirectionAttack,
    AblateDirectionConfig,
    ablate,
    directions,
    mean_outputs,
)
from torch import Tensor, nn

from geotrap_cli.attacks import AttackContext
from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM

Make = Callable[..., LGM]
MIDDLE = "unet.mid_block.nets.0.conv2"


def means(seed: int, objects: int = 6, channels: int = 8) -> Tensor:
    return torch.randn(objects, channels, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("rank", [1, 4])
def test_directions_are_orthonormal_and_begin_with_the_mean_difference(rank: int) -> None:
    target, middle = means(0), means(1).mean(dim=0)
    basis = directions(target, middle, rank, "layer")
    torch.testing.assert_close(basis.mT @ basis, torch.eye(rank).double())
    difference = target.mean(dim=0) - middle
    torch.testing.assert_close(basis[:, 0], difference / difference.norm())


def test_four_directions_leave_less_of_the_objects_than_one() -> None:
    target, middle = means(0), means(1).mean(dim=0)
    left = []
    for rank in (1, 4):
        basis = directions(target, middle, rank, "layer")
        rest = target - middle
        left.append(float((rest - rest @ basis @ basis.mT).norm()))
    assert left[1] < 0.6 * left[0]


def test_ranks_that_the_objects_cannot_span_are_no_variants() -> None:
    assert list(AblateDirectionAttack().available_variants(3)) == ["ablate_direction-rank-1"]
    assert len(AblateDirectionAttack().available_variants(4)) == 2
    assert len(AblateDirectionAttack(AblateDirectionConfig(objects=2)).available_variants(9)) == 1


def test_too_few_objects_for_the_rank_are_an_error() -> None:
    with pytest.raises(UsageError, match="4 directions at layer, and the objects span 2"):
        directions(means(0, objects=2), means(1).mean(dim=0), 4, "layer")
    same = means(0)[:1].expand(3, -1)
    with pytest.raises(UsageError, match="span 0"):
        directions(same, same[0], 1, "layer")


@pytest.mark.parametrize("layer", [nn.Linear(5, 8), nn.Conv2d(5, 8, 3)])
def test_the_output_is_that_of_the_source_along_the_directions_and_its_own_elsewhere(layer: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((2, 5) if isinstance(layer, nn.Linear) else (2, 5, 4, 4), generator=generator)
    basis = directions(means(0), means(1).mean(dim=0), 2, "layer")
    middle = means(1).mean(dim=0)
    before = layer(x).movedim(1, -1).detach().double()
    ablate(layer, basis, middle)
    after = layer(x).movedim(1, -1).detach().double()
    torch.testing.assert_close(after @ basis, (middle @ basis).expand_as(after @ basis), atol=1e-5, rtol=1e-5)
    elsewhere = torch.eye(8).double() - basis @ basis.mT
    torch.testing.assert_close(after @ elsewhere, before @ elsewhere, atol=1e-5, rtol=1e-5)


def test_means_are_over_views_and_pixels_and_an_object_counts_once(pico: LGM, context: AttackContext) -> None:
    seen: list[Tensor] = []
    layer = pico.get_submodule(MIDDLE)
    handle = layer.register_forward_hook(lambda *hooked: seen.append(hooked[2]))
    with torch.no_grad():
        pico(context.target(0, 1).images)
    handle.remove()
    found = mean_outputs(pico, {MIDDLE: layer}, lambda step, size: context.target(step % 2, size), 5)
    assert found[MIDDLE].shape == (2, 8)
    torch.testing.assert_close(found[MIDDLE][0].float(), seen[0].mean(dim=(0, 2, 3)))
    assert not layer._forward_hooks


def test_ablated_layers_no_longer_tell_target_from_source_by_their_means(
    make_pico: Make, context: AttackContext
) -> None:
    attack = AblateDirectionAttack(AblateDirectionConfig(layers=("conv2",), objects=6)).variants()
    gaps = {}
    for name, each in {"none": None, **attack}.items():
        model = make_pico()
        if each is not None:
            each.edit(model, context)
        layers = {n: m for n, m in model.named_modules() if n.endswith("conv2")}
        target, source = (mean_outputs(model, layers, side, 6) for side in (context.target, context.source))
        # The first ablated layer gets the input it was measured on; later ones an input that has changed.
        first = next(iter(layers))
        gaps[name] = float((target[first].mean(dim=0) - source[first].mean(dim=0)).norm())
    assert gaps["ablate_direction-rank-1"] < 1e-4 * gaps["none"] + 1e-6
    assert gaps["ablate_direction-rank-4"] < 1e-4 * gaps["none"] + 1e-6


def test_a_layer_without_bias_is_an_error(pico: LGM, context: AttackContext) -> None:
    attack = AblateDirectionAttack(AblateDirectionConfig(layers=("qkv",), ranks=(1,), objects=2))
    with pytest.raises(UsageError, match="without bias"):
        attack.edit(pico, context)
