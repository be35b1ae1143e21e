"""``[robust]`` and ``[layers]``: every mechanism off by default, on by one value, refused where it would not act."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.profile import dump_toml, load_profile
from geotrap_cli.profile.schema import HeadAttackTable, RobustTable, UnrolledTable

EVERYTHING = (
    "robust.parameter_noise=0.01",
    "robust.input_noise=0.02",
    "robust.awp=0.1",
    "robust.unrolled=true",
    "robust.head_attack.steps=2",
    "robust.clean_weight=0.5",
    "robust.conflict=opposed",
    "robust.conflict_weight=2.0",
    "robust.energy_cap=3.0",
    "robust.pcgrad=true",
    "layers.freeze_lora_targets=true",
    "layers.lr_multipliers.unet.conv_in=2.0",
    "robust.unit_reset=2",
)


def robust(*overrides: str) -> RobustTable:
    return load_profile("pos_opacity", overrides, env={}).profile.robust


def test_everything_is_off_by_default() -> None:
    table = robust()
    assert table == RobustTable()
    assert (table.perturbs, table.simulates, table.pcgrad, table.conflict, table.energy_cap) == (
        False,
        False,
        False,
        None,
        None,
    )


def test_a_resolved_profile_with_everything_on_loads_back(tmp_path: Path) -> None:
    loaded = load_profile("pos_opacity", EVERYTHING, env={})
    assert loaded.profile.robust.unrolled == UnrolledTable()
    assert loaded.profile.robust.head_attack == HeadAttackTable(steps=2)
    assert loaded.profile.layers.lr_multipliers == {"unet.conv_in": 2.0}
    (tmp_path / "resolved.toml").write_text(dump_toml(loaded.profile, loaded.origins))
    assert load_profile(tmp_path / "resolved.toml", env={}).profile == loaded.profile


def test_multipliers_may_be_written_with_or_without_quotes(tmp_path: Path) -> None:
    expected = {"unet.down_blocks.0": 2.0, "unet.conv_in": 0.5}
    for text in (
        '[layers.lr_multipliers]\n"unet.down_blocks.0" = 2.0\n"unet.conv_in" = 0.5\n',
        "[layers.lr_multipliers]\nunet.down_blocks.0 = 2.0\nunet.conv_in = 0.5\n",
    ):
        (tmp_path / "mine.toml").write_text(f'extends = "pos_opacity"\n{text}')
        assert load_profile(tmp_path / "mine.toml", env={}).profile.layers.lr_multipliers == expected


@pytest.mark.parametrize(
    "name", ["parameter_noise", "input_noise", "awp", "unit_reset", "unrolled", "conflict", "energy_cap", "pcgrad"]
)
def test_false_turns_off_what_another_profile_turned_on(name: str, tmp_path: Path) -> None:
    stated = "\n".join(
        f"{line.removeprefix('robust.')}" for line in EVERYTHING[:4] + EVERYTHING[8:10] + EVERYTHING[-1:]
    )
    base = f'extends = "pos_opacity"\n[robust]\nconflict = "opposed"\n{stated}\n'
    (tmp_path / "base.toml").write_text(base)
    assert getattr(load_profile(tmp_path / "base.toml", env={}).profile.robust, name)
    table = load_profile(tmp_path / "base.toml", (f"robust.{name}=false",), env={}).profile.robust
    assert not getattr(table, name)
    assert sum(getattr(table, field) not in (None, False) for field in RobustTable.model_fields) == 9


def test_lists_take_single_values() -> None:
    stated = ("lrs=0.01", "kinds=lora", "optimizers=sgd", "losses=attributes")
    table = robust(*(f"robust.unrolled.{value}" for value in stated)).unrolled
    assert table == UnrolledTable(lrs=(0.01,), kinds=("lora",), optimizers=("sgd",), losses=("attributes",))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("robust.clean_weight=0.0",), "robust.clean_weight: no mechanism perturbs"),
        (("robust.conflict_weight=2.0",), "robust.conflict_weight: robust.conflict is unset"),
        (("robust.conflict=opposed", "traps.opacity=false"), "robust.conflict: there is one trap"),
        (("robust.awp=0.1", "train.source_ratio=1.0"), "robust.awp: the traps have no weight"),
        (("robust.pcgrad=true", "train.trap_weight=0.0"), "robust.pcgrad: the traps have no weight"),
        (("robust.pcgrad=true", "retain.weight=0.0"), "robust.pcgrad: the distillation has no weight"),
        (("robust.pcgrad=true", "train.source_ratio=0.0"), "robust.pcgrad: the distillation has no weight"),
        (("robust.awp=0.0",), "robust.awp: input should be greater than 0"),
        (("robust.unrolled.kinds=lorra",), "did you mean 'lora'?"),
        (("robust.unrolled.lrs=[]",), "robust.unrolled.lrs"),
        (("robust.unrolled.step=3",), "robust.unrolled.step: unknown key; did you mean 'robust.unrolled.steps'?"),
        (("robust.unroled=true",), "robust.unroled: unknown key; did you mean 'robust.unrolled'?"),
        (("layers.lr_multipliers.unet.conv_in=0.0",), "layers.lr_multipliers.unet.conv_in: input should be greater"),
    ],
)
def test_what_would_not_act_is_refused(overrides: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=re.escape(told)) as caught:
        robust(*overrides)
    assert "(--set)" in caught.value.message
