"""What tells two jobs apart: digests of everything that acts on weights or scores, code included, and of nothing else.

The name of a run's profile ends in them, so that a line of a store tells which job it belongs to on any machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from geotrap_cli.attacks import Attack
from geotrap_cli.defenses import Defense
from geotrap_cli.evaluation.store import content_key
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.cell_store import content_digest
from geotrap_cli.training.code_version import attack_code, defense_code
from geotrap_cli.training.defense import load_defense

LENGTH = 12
_NOT_TRAINING = ("attack", "eval", "pretrain")
_NOT_SCORING = ("methods", "controls", "control_attacks", "checkpoint_every", "keep_gaussians")
_SCORING = ("model", "data", "loss", "device")
_MEASURED = ("objects", "views", "split")
_NO_EFFECT = {
    "data": ("root", "cache", "workers"),
    "train": ("log_every", "checkpoint_every"),
    "device": ("read_ahead",),
}
"""Where files lie differs between machines; which objects they hold is checked when results are compared."""


def defense_digest(profile: Profile, weights_of: Mapping[str, str]) -> str:
    """Return the digest of all that the defended weights follow from.

    Args:
        profile: The profile of the defense.
        weights_of: Digests of the defenses whose weights it takes, by option.
    """
    tables = {name: _acting(name, table) for name, table in profile.tables().items() if name not in _NOT_TRAINING}
    defense = load_defense(profile)
    inputs = {
        "tables": tables,
        "weights_of": dict(weights_of),
        "files": _files(profile, defense.config),
        "code": defense_code(profile, type(defense)),
    }
    if _reads_adapter(profile, defense):
        inputs["adapter"] = profile.tables()["attack"].get("lora", {})
    return content_key(inputs)[:LENGTH]


def attack_digest(profile: Profile, key: str) -> str:
    """Return the digest of all that the scores of an attack follow from besides the defended weights."""
    tables = profile.tables()
    attack = {name: value for name, value in tables["attack"].items() if not isinstance(value, Mapping)}
    for unread in _NOT_SCORING:
        attack.pop(unread, None)
    if tables["attack"]["tune"]["trials"]:
        attack["tune"] = tables["attack"]["tune"]
    found: Attack = build_plugin("geotrap.attacks", key, profile.attack.options(key))
    inputs = {
        "attack": attack,
        "data": _acting("data", tables["attack"].get("data", {})),
        "key": key,
        "options": tables["attack"].get(key, {}),
        "files": _files(profile, found.config),
        "eval": {name: tables["eval"][name] for name in _MEASURED},
        "precision": tables["train"]["precision"],
        **{name: _acting(name, tables[name]) for name in _SCORING if name in tables},
    }
    return content_key({"inputs": inputs, "code": attack_code(profile, type(found))})[:LENGTH]


def _files(profile: Profile, config: Iterable[tuple[str, object]]) -> dict[str, str | None]:
    """Return digests of what lies at the paths that are named: other weights under the same path act, too."""
    named = {name: value for name, value in config if isinstance(value, Path)}
    own = {"model.weights": Path(profile.model.weights), "loss.lpips_trunk": profile.loss.lpips_trunk}
    return {name: content_digest(path) for name, path in {**own, **named}.items() if path is not None}


def _reads_adapter(profile: Profile, defense: Defense) -> bool:
    """Whether the defended weights depend on where and how an attacker's LoRA would be put."""
    return profile.layers.freeze_lora_targets or "lora" in defense.simulates(profile)


def run_name(label: str, *digests: str) -> str:
    """Return the name of a profile whose runs belong to the jobs with those digests."""
    return "-".join((label, *digests))


def digests_of(name: str) -> tuple[str, str] | None:
    """Return the digests of defense and attack that a profile's name ends in; None where it ends otherwise."""
    parts = name.rsplit("-", 2)
    if len(parts) < 3 or not all(_is_digest(part) for part in parts[1:]):
        return None
    return parts[1], parts[2]


def _is_digest(part: str) -> bool:
    return len(part) == LENGTH and set(part) <= set("0123456789abcdef")


def _acting(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in _NO_EFFECT.get(name, ())}
