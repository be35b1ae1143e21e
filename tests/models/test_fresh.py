from __future__ import annotations

import torch

from geotrap_cli.models.fresh import fresh_weights
from geotrap_cli.models.lgm.model import LGM


def test_a_seed_says_all_and_nothing_else_is_drawn(micro: LGM) -> None:
    state = torch.random.get_rng_state()
    first, again, other = (fresh_weights(micro, seed) for seed in (5, 5, 6))
    assert torch.random.get_rng_state().equal(state)
    assert first.keys() == dict(micro.named_parameters()).keys()
    assert all(again[name].equal(value) for name, value in first.items())
    assert not other["unet.conv_in.weight"].equal(first["unet.conv_in.weight"])
    assert not any(value.requires_grad for value in first.values())


def test_they_are_those_of_a_new_generator(micro: LGM) -> None:
    torch.manual_seed(5)
    expected = dict(LGM.from_config(micro.config).named_parameters())
    assert all(value.equal(expected[name]) for name, value in fresh_weights(micro, 5).items())
