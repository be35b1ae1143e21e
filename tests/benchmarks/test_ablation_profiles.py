"""Every profile of the ablation is its base with exactly the mechanism that it is named after."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, get_args

import pytest

from geotrap_cli.plugins import plugin_keys
from geotrap_cli.profile import load_profile
from geotrap_cli.profile.files import purpose
from geotrap_cli.profile.schema import AggregationTable, Profile, RobustTable, flatten

GONE = None
NO_POSITION = {"traps.position.weight": GONE, "traps.position.epsilon": GONE}
NO_OPACITY = {"traps.opacity.weight": GONE, "traps.opacity.mode": GONE, "traps.opacity.top_fraction": GONE}
MECHANISMS: dict[str, dict[str, Any]] = {
    "trap_position": NO_OPACITY,
    "trap_scale": {**NO_POSITION, **NO_OPACITY, "traps.scale.weight": 1.0},
    "trap_opacity_log": NO_POSITION,
    "trap_opacity_linear": {**NO_POSITION, "traps.opacity.mode": "linear"},
    "trap_opacity_logit": {**NO_POSITION, "traps.opacity.mode": "logit"},
    "trap_opacity_hybrid": {**NO_POSITION, "traps.opacity.mode": "hybrid"},
    "trap_rotation": {**NO_POSITION, **NO_OPACITY, "traps.rotation.weight": 1.0},
    "trap_color": {**NO_POSITION, **NO_OPACITY, "traps.color.weight": 1.0},
    "trap_exile": {**NO_POSITION, **NO_OPACITY, "traps.exile.weight": 1.0},
    "trap_dead_zone": {**NO_POSITION, **NO_OPACITY, "traps.dead_zone.weight": 1.0},
    "weighting_opacity": {"traps.position.weighting": "opacity", "traps.opacity.weighting": "opacity"},
    "weighting_contribution": {"traps.position.weighting": "contribution", "traps.opacity.weighting": "contribution"},
    "aggregation_sum": {"aggregation.method": "sum"},
    "aggregation_max": {"aggregation.method": "max"},
    "aggregation_logsumexp": {"aggregation.method": "logsumexp"},
    "aggregation_product": {"aggregation.method": "product"},
    "aggregation_pairwise": {"aggregation.method": "pairwise"},
    "dynamic_hutchinson": {"traps.position.dynamic.eta": -0.5, "traps.position.dynamic.estimator": "hutchinson"},
    "dynamic_sum": {"traps.position.dynamic.eta": -0.5, "traps.position.dynamic.estimator": "sum"},
    "retain_normalise": {"retain.normalise": "attribute"},
    "retain_weight": {"retain.weight": 1400.0},
    "retain_quaternions": {"retain.quaternions": "sign_invariant"},
    "retain_render_weight": {"retain.render_weight": 400.0},
    "robust_unit_reset": {"robust.unit_reset": 3},
    "robust_parameter_noise": {"robust.parameter_noise": 0.01},
    "robust_input_noise": {"robust.input_noise": 0.05},
    "robust_awp": {"robust.awp": 0.1},
    "robust_unrolled_lora": {"robust.unrolled.kinds": ["lora"]},
    "robust_unrolled_full": {"robust.unrolled.kinds": ["full"]},
    "robust_head_attack": {"robust.head_attack.steps": 4},
    "robust_conflict_orthogonal": {"robust.conflict": "orthogonal"},
    "robust_conflict_opposed": {"robust.conflict": "opposed"},
    "robust_energy_cap": {"robust.energy_cap": 3.0},
    "robust_pcgrad": {"robust.pcgrad": True},
    "layers_freeze_lora_targets": {"layers.freeze_lora_targets": True},
    "layers_head_trained": {"layers.freeze_head": False},
    "layers_lr_multipliers": {"layers.lr_multipliers.unet.mid_block": 2.0},
    "model_fuse_head": {"model.fuse_head": True},
}
BUDGET = {
    "train.steps": 60,
    "train.batch_size": 2,
    "attack.steps": 40,
    "attack.batch_size": 2,
    "attack.evaluations": 2,
    "attack.methods": ["lora", "full"],
    "eval.objects": 10,
}


@functools.cache
def load(profile: str | Path) -> Profile:
    return load_profile(profile, env={}).profile


def values(profile: str | Path) -> dict[str, Any]:
    return flatten(load(profile).tables())


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """What ``ours`` has that ``theirs`` has not, None for what is gone."""
    return {key: ours.get(key) for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}


def test_the_base_is_the_default_profile_on_another_budget(ablation_profiles: Path) -> None:
    changed = differences(values(ablation_profiles / "base.toml"), values("pos_opacity"))
    attacks = {key for key in changed if key.startswith("attack.full.")}
    assert {key: value for key, value in changed.items() if key not in attacks} == BUDGET


def test_there_is_a_profile_for_each_name_and_no_other(ablation_profiles: Path) -> None:
    assert {path.stem for path in ablation_profiles.glob("*.toml")} == {"base", *MECHANISMS}


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_profile_is_the_base_with_one_mechanism(ablation_profiles: Path, name: str) -> None:
    changed = differences(values(ablation_profiles / f"{name}.toml"), values(ablation_profiles / "base.toml"))
    assert {key: changed[key] for key in MECHANISMS[name]} == MECHANISMS[name]
    # A table that is switched on or off brings its other settings along; nothing outside of it may change.
    tables = {_table(key) for key in MECHANISMS[name]}
    assert {key for key in changed if _table(key) not in tables} == set()
    assert not {"train", "attack", "eval", "data", "loss"} & {key.partition(".")[0] for key in changed}


def _table(dotted: str) -> str:
    """The smallest table that is switched as a whole: a trap, its dynamic table, a mechanism, else the value itself."""
    parts = dotted.split(".")
    if parts[0] == "traps":
        return ".".join(parts[:3] if parts[2] == "dynamic" else parts[:2])
    return ".".join(parts[:2]) if parts[0] == "robust" else dotted


@pytest.mark.parametrize("name", [name for name in MECHANISMS if name.startswith("trap_")])
def test_a_trap_alone_is_alone(ablation_profiles: Path, name: str) -> None:
    traps = load(ablation_profiles / f"{name}.toml").traps
    (key,) = traps
    assert name.startswith(f"trap_{key}")


def test_no_two_profiles_are_the_same(ablation_profiles: Path) -> None:
    profiles = [load(path) for path in ablation_profiles.glob("*.toml")]
    assert all(profiles.count(profile) == 1 for profile in profiles)


def test_every_profile_says_what_it_switches_on(ablation_profiles: Path) -> None:
    said = [purpose(path) for path in ablation_profiles.glob("*.toml")]
    assert all(said)
    assert len(set(said)) == len(said)


def test_every_mechanism_of_the_robust_table_has_a_profile(ablation_profiles: Path) -> None:
    switched: set[str] = set()
    for path in ablation_profiles.glob("robust_*.toml"):
        table = load(path).robust
        on = {name for name in RobustTable.model_fields if getattr(table, name) != getattr(RobustTable(), name)}
        assert len(on) == 1, f"{path.name} switches on {on}"
        switched |= on
    weights_of_others = {"clean_weight", "conflict_weight"}
    assert switched == set(RobustTable.model_fields) - weights_of_others


def test_every_trap_aggregation_and_layer_switch_has_a_profile(ablation_profiles: Path) -> None:
    profiles = [load(path) for path in ablation_profiles.glob("*.toml")]
    alone = {next(iter(profile.traps)) for profile in profiles if len(profile.traps) == 1}
    assert alone == set(plugin_keys("geotrap.traps"))
    methods = set(get_args(AggregationTable.model_fields["method"].annotation))
    assert {profile.aggregation.method for profile in profiles} == methods
    for name in ("freeze_head", "freeze_lora_targets", "lr_multipliers"):
        assert any(getattr(profile.layers, name) != getattr(Profile().layers, name) for profile in profiles), name
