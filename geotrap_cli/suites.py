"""Sets of attacks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from geotrap_cli.plugins import build_plugin, plugin_keys

if TYPE_CHECKING:
    from geotrap_cli.profile.schema import Profile

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


def lacking(keys: Sequence[str], profile: Profile) -> dict[str, str]:
    """Return those attacks of ``keys`` that cannot run as ``profile`` stands, with the option that each lacks."""
    found = {key: build_plugin("geotrap.attacks", key, profile.attack.options(key)).missing() for key in keys}
    return {key: option for key, option in found.items() if option}
