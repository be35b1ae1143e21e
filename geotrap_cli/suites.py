"""Sets of attacks by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from geotrap_cli.plugins import plugin_keys


@dataclass(frozen=True)
class Suite:
    """A set of attacks, and what it chooses where nobody else does.

    Attributes:
        keys: Gives the keys of its attacks.
        fields: Values of ``[attack]`` by name.
        options: Values of ``[attack.KEY]`` by key and name.
    """

    keys: Callable[[], tuple[str, ...]]
    fields: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


QUICK: Final = (
    "lora",
    "lora_conv",
    "full_lgm",
    "full_small_lr",
    "sgd",
    "head_refit",
    "desaturate",
    "anti_trap",
)
"""One attack of each kind, in one form each; sweeps belong to ``full``."""

ADAPTIVE: Final = (
    "head_reinit",
    "head_refit",
    "unit_reset",
    "desaturate",
    "anti_trap",
    "attribute_regression",
    "teacher_outputs",
    "heal_first",
    "benign_only",
    "kick_settle",
    "weight_noise",
    "prune",
    "quantize",
    "merge",
    "ablate_direction",
)
"""Attackers who know the defense and aim at it."""


def _full() -> tuple[str, ...]:
    return tuple(plugin_keys("geotrap.attacks"))


SUITES: Final[dict[str, Suite]] = {
    "quick": Suite(
        lambda: QUICK,
        fields={
            "steps": 80,
            "evaluations": 4,
            "controls": ("scratch", "distill"),
            # Random weights want a recipe made for training from scratch, and one cell of each is enough for a look.
            "control_attacks": ("full_lgm",),
        },
        options={
            "head_refit": {"fits": ["ridge"]},
            "desaturate": {"modes": ["straight_through"], "shrinks": []},
            "anti_trap": {"weights": [0.1]},
        },
    ),
    "full": Suite(_full, fields={"controls": ("scratch", "distill", "noise", "benign")}),
    "adaptive": Suite(lambda: ADAPTIVE, fields={"controls": ("scratch",)}),
}
"""The suites; ``full`` has every registered attack, those of other packages included."""
