"""Attacks that do something else first, for a share of their steps."""

from __future__ import annotations

from geotrap_cli.attacks import Attack, Data, Phase
from geotrap_cli.errors import UsageError


def two_phases(attack: Attack, name: str, share: float, steps: int, data: Data = "target") -> tuple[Phase, Phase]:
    """Return a phase ``name`` of ``share`` of the steps on ``data``, then one on target objects; each of one at least.

    Raises:
        UsageError: There is one step only.
    """
    if steps < 2:
        raise UsageError(f"attack.{attack.key}: one step cannot both {name} and attack", "Raise attack.steps")
    first = min(max(1, round(share * steps)), steps - 1)
    return Phase(name, first, data), Phase("target", steps - first)
