from __future__ import annotations

import pytest
import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.learning_rates import parameter_groups
from geotrap_cli.training.loop import set_learning_rate


def rates(model: LGM, multipliers: dict[str, float], units: tuple[str, ...] = ()) -> dict[str, float]:
    """Learning rate by parameter name, for a plain rate of 0.1."""
    trained = select_parameters(model, units, freeze_head=True)
    names = {id(parameter): name for name, parameter in trained.items()}
    groups = parameter_groups(model, trained, 0.1, multipliers)
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


def test_without_multipliers_there_is_one_group_in_the_models_order(micro: LGM) -> None:
    trained = select_parameters(micro, (), freeze_head=True)
    (group,) = parameter_groups(micro, trained, 0.1, {})
    assert group["lr"] == 0.1
    assert all(mine is theirs for mine, theirs in zip(group["params"], trained.values(), strict=True))


def test_a_prefix_ends_where_a_component_ends_and_the_longest_counts(micro: LGM) -> None:
    found = rates(micro, {"unet.down_blocks.0": 2.0, "unet.down_blocks.0.nets.1": 0.5, "unet.conv_in": 3.0})
    assert found.keys() == select_parameters(micro, (), freeze_head=True).keys()
    expected = {
        "unet.down_blocks.0.nets.0.conv1.weight": 0.2,
        "unet.down_blocks.0.downsample.bias": 0.2,
        "unet.down_blocks.0.nets.1.conv1.weight": 0.05,
        "unet.conv_in.weight": 0.3,
        "unet.down_blocks.1.nets.0.conv1.weight": 0.1,
        "unet.norm_out.weight": 0.1,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("unet.conv_inn", "did you mean 'unet.conv_in'?"),
        ("unet.down_blocks.0.net", "did you mean 'unet.down_blocks.0.nets'?"),
        ("unet.mid_block.nets.0.conv1", "no unit is called"),
        ("unet.conv_out", "'unet.conv_out' is not trained"),
    ],
)
def test_a_name_that_would_not_act_is_an_error(micro: LGM, name: str, told: str) -> None:
    with pytest.raises(UsageError, match=r"layers\.lr_multipliers: ") as caught:
        rates(micro, {"unet.conv_in": 2.0, name: 2.0})
    assert told in caught.value.message


def test_a_step_of_adamw_is_longer_by_the_factor_and_schedules_keep_it(micro: LGM) -> None:
    trained = select_parameters(micro, (), freeze_head=True)
    groups = parameter_groups(micro, trained, 1e-3, {"unet.mid_block": 4.0})
    optimizer = torch.optim.AdamW(groups, lr=1e-3, weight_decay=0.0)
    before = {name: value.detach().clone() for name, value in trained.items()}
    for value in trained.values():
        value.grad = torch.ones_like(value)
    set_learning_rate(optimizer, 0.5)
    optimizer.step()
    moved = {name: float((value.detach() - before[name]).abs().mean()) for name, value in trained.items()}
    assert moved["unet.mid_block.nets.0.conv1.weight"] == pytest.approx(2e-3, rel=1e-3)
    assert moved["unet.conv_in.weight"] == pytest.approx(5e-4, rel=1e-3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(5e-4)
