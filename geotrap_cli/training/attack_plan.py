"""From the keys of a profile to what is run: sweeps become their variants, each with a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geotrap_cli.attacks import Attack, AttackSetting
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.meta import meta_model


@dataclass(frozen=True)
class PlannedAttack:
    """One variant of an attack.

    Attributes:
        method: Its name: the key of the attack, or ``<key>-<variant>``.
        family: The key of the attack.
        attack: What is run.
        steps: Its own budget in place of ``attack.steps``; None: that of the profile.
    """

    method: str
    family: str
    attack: Attack
    steps: int | None = None


def plan_attacks(profile: Profile, objects: int | None = None) -> list[PlannedAttack]:
    """Return every variant of the attacks of ``profile`` that fits its budget and its generator, in order.

    Args:
        profile: Its ``[attack]`` table names the attacks and holds their settings.
        objects: Target objects the attacker has; None where that is not known yet.

    Raises:
        UsageError: An attack lacks an option that it cannot run without, or none of its variants fits.
        GeotrapError: A plug-in is broken, or its variants have names that others have or that do not tell its key.
    """
    setting = attack_setting(profile)
    planned: list[PlannedAttack] = []
    for key in profile.attack.methods:
        attack = _build(profile, key)
        if missing := attack.missing():
            raise UsageError(f"attack {key} needs {missing}", f"Set it with --set {missing}=..., or leave {key} out")
        variants = attack.variants() if objects is None else attack.available_variants(objects)
        _check_names(key, variants)
        fitting = {name: variant for name, variant in variants.items() if variant.misfit(setting) is None}
        if not fitting:
            why = _reasons(variants, setting)
            raise UsageError(f"attack {key} cannot run: {why}", f"Change that, or leave {key} out")
        planned += [PlannedAttack(name, key, variant) for name, variant in fitting.items()]
    return planned


def attack_setting(profile: Profile) -> AttackSetting:
    """Return what the attacks of ``profile`` have to fit."""
    model = meta_model(profile)
    return AttackSetting(
        profile.attack.steps, len(model.units()), model.family, model.affine_head, len(model.head_units)
    )


def left_out(profile: Profile) -> dict[str, str]:
    """Return the attacks, and the variants of attacks, of ``profile`` that cannot run as it stands, with the reason."""
    setting, found = attack_setting(profile), dict[str, str]()
    for key in profile.attack.methods:
        attack = _build(profile, key)
        if missing := attack.missing():
            found[key] = f"{missing} is not set"
            continue
        variants = attack.variants()
        misfits = {name: why for name, one in variants.items() if (why := one.misfit(setting)) is not None}
        found |= {key: _reasons(variants, setting)} if len(misfits) == len(variants) else misfits
    return found


def _build(profile: Profile, key: str) -> Attack:
    attack: Attack = build_plugin("geotrap.attacks", key, profile.attack.options(key))
    return attack


def _reasons(variants: Mapping[str, Attack], setting: AttackSetting) -> str:
    return "; ".join(dict.fromkeys(filter(None, (variant.misfit(setting) for variant in variants.values()))))


def _check_names(key: str, variants: Mapping[str, Attack]) -> None:
    wrong = [name for name in variants if (name != key and not name.startswith(f"{key}-")) or "/" in name]
    if wrong or not variants:
        what = f"names a variant {wrong[0]!r}" if wrong else "has no variants"
        raise GeotrapError(f"attack {key} {what}", f"Variants are called {key}, or {key}-<variant>")
