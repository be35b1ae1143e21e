"""From the keys of a profile to what is run: sweeps become their variants, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geotrap_cli.attacks import Attack
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile.schema import Profile


@dataclass(frozen=True)
class PlannedAttack:
    """One variant of an attack.

    Attributes:
        method: Its name: the key of the attack, or ``<key>-<variant>``.
        family: The key of the attack.
        attack: What is run.
    """

    method: str
    family: str
    attack: Attack


def plan_attacks(profile: Profile, objects: int | None = None) -> list[PlannedAttack]:
    """Return every variant of the attacks of ``profile``, in order.

    Args:
        profile: Its ``[attack]`` table names the attacks and holds their settings.
        objects: Target objects the attacker has; None where that is not known yet.

    Raises:
        UsageError: An attack lacks an option that it cannot run without.
        GeotrapError: A plug-in is broken, or its variants have names that others have or that do not tell its key.
    """
    planned: list[PlannedAttack] = []
    for key in profile.attack.methods:
        attack: Attack = build_plugin("geotrap.attacks", key, profile.attack.options(key))
        if missing := attack.missing():
            raise UsageError(f"attack {key} needs {missing}", f"Set it with --set {missing}=..., or leave {key} out")
        variants = attack.variants() if objects is None else attack.available_variants(objects)
        _check_names(key, variants)
        planned += [PlannedAttack(name, key, variant) for name, variant in variants.items()]
    return planned


def _check_names(key: str, variants: Mapping[str, Attack]) -> None:
    wrong = [name for name in variants if (name != key and not name.startswith(f"{key}-")) or "/" in name]
    if wrong or not variants:
        what = f"names a variant {wrong[0]!r}" if wrong else "has no variants"
        raise GeotrapError(f"attack {key} {what}", f"Variants are called {key}, or {key}-<variant>")
