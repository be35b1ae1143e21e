"""Options that would change nothing are refused."""

from __future__ import annotations

from geotrap_cli.defenses import DefenseConfig


def refuse_idle(config: DefenseConfig, why: str, *names: str) -> None:
    """Refuse options that differ from their defaults where they do not act.

    A resolved profile states every value, so that only one that differs from its default was meant to act.

    Raises:
        ValueError: One of them differs; ``why`` goes on after its name.
    """
    for name in names:
        if getattr(config, name) != type(config).model_fields[name].default:
            raise ValueError(f"{name} {why}")
