"""``[defense]``: the method, its options, and values that it does not read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.profile import dump_toml, load_profile


def refused(*overrides: str, profile: Path | str = "pos_opacity") -> str:
    with pytest.raises(UsageError) as caught:
        load_profile(profile, overrides, env={})
    return str(caught.value)


def test_the_traps_are_the_default() -> None:
    table = load_profile(env={}).profile.defense
    assert (table.method, table.max_gradient_evaluations, table.max_seconds) == ("geotrap", None, None)


def test_options_are_complete_and_load_back(tmp_path: Path) -> None:
    loaded = load_profile("pos_opacity", ["defense.method=ntl", "defense.ntl.cap=2.0"], env={})
    options = loaded.profile.defense.options("ntl")
    assert (options["cap"], options["factor"]) == (2.0, 0.1)
    (tmp_path / "resolved.toml").write_text(dump_toml(loaded.profile, loaded.origins))
    assert load_profile(tmp_path / "resolved.toml", env={}).profile == loaded.profile


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (("defense.method=grad_dif",), "unknown defense 'grad_dif'; did you mean 'grad_diff'?"),
        (("defense.method=ntl", "defense.ntl.capp=1.0"), "defense.ntl.capp: unknown key; did you mean 'defense.ntl.c"),
        (("defense.sophn.weight=1.0",), "defense.sophn: unknown key; did you mean 'defense.sophon'?"),
        (("defense.methud=ntl",), "did you mean 'defense.method'?"),
        (("defense.method=ntl", "defense.ntl=3"), "defense.ntl: expects a table with the settings of this def"),
        (("defense.method=ntl", "defense.ntl.cap=-1.0"), "defense.ntl.cap: input should be greater than 0"),
        (("defense.max_seconds=0.0",), "defense.max_seconds: input should be greater than 0"),
        (("defense.method=noise", "defense.noise.like=x", "defense.noise.sigma=0.1"), "sigma does not act"),
        (("defense.method=gausslock", "defense.gausslock.aggregation=mean", "defense.gausslock.temperature=1.0"),
         "temperature acts in aggregation 'logsumexp' only"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_the_closest_name(overrides: tuple[str, ...], told: str) -> None:
    assert told in refused(*overrides)


@pytest.mark.parametrize(
    "setting",
    ["robust.awp=0.1", "train.trap_weight=3.0", "traps.position.dynamic.eta=1.0"],
)
def test_what_only_the_traps_read_is_refused_beside_another_defense(setting: str) -> None:
    key = setting.partition("=")[0]
    assert re.search(rf"{re.escape(key)}: defense 'ntl' does not read it", refused("defense.method=ntl", setting))
    load_profile("pos_opacity", [setting], env={})


def test_retention_is_refused_where_nothing_is_retained() -> None:
    assert "retain.weight: defense 'naive_unlearning'" in refused(
        "defense.method=naive_unlearning", "retain.weight=3.0"
    )
    load_profile("pos_opacity", ["defense.method=grad_diff", "retain.weight=3.0"], env={})


def test_a_profile_may_hold_what_other_defenses_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "pos_opacity"\n[robust]\nawp = 0.1\n[defense.tar]\ndecay = 0.5\n')
    assert load_profile(path, ["defense.method=ntl"], env={}).profile.defense.options("tar")["decay"] == 0.5
    path.write_text(path.read_text() + '[defense]\nmethod = "ntl"\n')
    assert "robust.awp: defense 'ntl' does not read it" in refused(profile=path)
    later = tmp_path / "later.toml"
    later.write_text('extends = "mine"\n[robust]\nawp = 0.2\n')
    path.write_text('extends = "pos_opacity"\n[defense]\nmethod = "ntl"\n')
    assert "robust.awp: defense 'ntl' does not read it" in refused(profile=later)


def test_options_of_a_defense_that_is_not_run_are_refused_on_the_command_line() -> None:
    assert "defense.method is 'geotrap', so nothing would read it" in refused("defense.ntl.cap=2.0")


def test_the_profile_of_a_run_states_every_value_and_loads(tmp_path: Path) -> None:
    loaded = load_profile("pos_opacity", ["defense.method=ntl"], env={})
    (tmp_path / "profile.toml").write_text(dump_toml(loaded.profile, loaded.origins))
    (tmp_path / "manifest.json").write_text("{}")
    assert load_profile(tmp_path / "profile.toml", env={}).profile == loaded.profile
    assert (
        load_profile(tmp_path / "profile.toml", ["defense.method=geotrap"], env={}).profile.defense.method == "geotrap"
    )
