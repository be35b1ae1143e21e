"""``[traps.KEY.dynamic]``: all that is wrong with it is told at once, and it can be inherited and taken away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from geotrap_traps.scale import ScaleTrap

from geotrap_cli.errors import UsageError
from geotrap_cli.profile import dump_toml, load_profile

WriteProfile = Callable[[str, str], Path]


def test_every_problem_is_told_with_the_closest_key_and_choice() -> None:
    with pytest.raises(UsageError) as caught:
        load_profile(
            overrides=["traps.position.dynamic={etta=1, estimator='hutchison', every=0}", "traps.opacity.dynamic.eta=x"]
        )
    message = caught.value.message
    assert "5 problems" in message
    assert "traps.position.dynamic.etta: unknown key; did you mean 'traps.position.dynamic.eta'?" in message
    assert "traps.position.dynamic.eta: is required" in message
    assert "traps.position.dynamic.estimator" in message
    assert "did you mean 'hutchinson'?" in message
    assert "traps.position.dynamic.every" in message
    assert "traps.opacity.dynamic.eta" in message


def test_a_trap_that_says_nothing_of_what_it_acts_on_cannot_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ScaleTrap, "attribute", None)
    assert "scale" in load_profile(overrides=["traps.scale.weight=2.0"]).profile.traps
    with pytest.raises(UsageError, match=r"traps\.scale\.dynamic: .*give the trap's class an `attribute` \(--set\)"):
        load_profile(overrides=["traps.scale.dynamic.eta=1"])


def test_it_is_inherited_changed_and_taken_away(write_profile: WriteProfile) -> None:
    write_profile("base.toml", 'extends = "pos_opacity"\n[traps.position.dynamic]\neta = -0.5\nlayers = "a,b"\n')
    changed = write_profile("mine.toml", 'extends = "base"\n[traps.position.dynamic]\neta = 0.25\n')
    table = load_profile(changed).profile.traps["position"].dynamic
    assert table is not None
    assert (table.eta, table.layers, table.estimator) == (0.25, ("a", "b"), "hutchinson")
    without = load_profile(changed, ["traps.position.dynamic=false"]).profile.traps["position"]
    assert without.dynamic is None
    assert load_profile("pos_opacity", ["traps.position.dynamic=false"]).profile == load_profile("pos_opacity").profile


def test_a_resolved_profile_holds_it(tmp_path: Path) -> None:
    loaded = load_profile("pos_opacity", ["traps.position.dynamic={eta=1, every=3, layers=['unet.conv_in']}"], env={})
    (tmp_path / "resolved.toml").write_text(dump_toml(loaded.profile, loaded.origins))
    assert load_profile(tmp_path / "resolved.toml", env={}).profile == loaded.profile
    assert loaded.origins["traps.position.dynamic.every"] == "--set"
    assert loaded.origins["traps.position.dynamic.probes"] == "default"
