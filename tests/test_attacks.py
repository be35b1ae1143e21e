"""What every attack inherits: optimizer, schedule, and no terms of its own."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from geotrap_cli.attacks import Attack, AttackConfig
from geotrap_cli.models.lgm.model import LGM


class Plain(Attack):
    key, summary = "plain", "nothing of its own"

    def prepare(self, model: LGM) -> dict[str, nn.Parameter]:
        return dict(model.named_parameters())

    def save(self, model: LGM, folder: Path) -> None:
        raise NotImplementedError


def test_the_optimizer_has_the_options_of_the_config() -> None:
    attack = Plain(AttackConfig(lr=3e-3, weight_decay=0.1, betas=(0.5, 0.6)))
    optimizer = attack.optimizer([nn.Parameter(torch.zeros(2))])
    assert isinstance(optimizer, torch.optim.AdamW)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"]) == (3e-3, 0.1, (0.5, 0.6))


def test_the_schedule_spans_the_attack() -> None:
    factor = Plain(AttackConfig(schedule="linear", warmup_steps=2)).schedule(6)
    assert [factor(step) for step in range(6)] == [0.5, 1, 1, 0.75, 0.5, 0.25]


def test_defaults() -> None:
    attack = Plain()
    assert attack.config == AttackConfig()
    assert attack.extra_terms(None, None) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize("stated", [0, 0.0, None])
def test_no_clipping_is_zero_in_a_profile(stated: float | None) -> None:
    config = AttackConfig(clip_norm=stated)
    assert config.clip_norm is None
    plain = config.model_dump(mode="json", exclude_none=True)
    assert plain["clip_norm"] == 0.0
    assert AttackConfig.model_validate_json(json.dumps(plain)) == config


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": math.inf},
        {"lr": "1"},
        {"warmup_steps": True},
        {"schedule": "step"},
        {"clip_norm": -1.0},
        {"clip_norm": False},
        {"betas": (2.0, 0.9)},
        {"betas": (0.9, -1.0)},
        {"momentum": 0.9},
    ],
)
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AttackConfig.model_validate(options)
