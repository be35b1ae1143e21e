"""Sets of attacks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from geotrap_cli.plugins import plugin_keys

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
"""One attack of each kind; the sweeps of the plain ones belong to ``full``."""

ADAPTIVE: Final = (
    "head_reinit",
    "head_refit",
    "unit_reset",
    "desaturate",
    "anti_trap",
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


SUITES: Final[dict[str, Callable[[], tuple[str, ...]]]] = {
    "quick": lambda: QUICK,
    "full": _full,
    "adaptive": lambda: ADAPTIVE,
}
"""The attacks of each suite; ``full`` has every registered one, those of other packages included."""
