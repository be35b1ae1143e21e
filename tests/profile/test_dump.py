"""A resolved profile loads back to itself, whatever is in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geotrap_cli.profile import dump_toml, load_profile, shipped_profiles

NAMES = st.lists(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1).map(str.strip).filter(lambda name: name), min_size=1
)


@pytest.mark.parametrize("name", sorted(shipped_profiles()))
def test_shipped_profiles_round_trip(name: str, tmp_path: Path) -> None:
    roots = {"objects128": "data.root", "lgm_big": "data.root", "cross_data": "attack.data.root"}
    overrides = [f"{roots[name]}={tmp_path}"] if name in roots else []
    loaded = load_profile(name, overrides)
    (tmp_path / "copy.toml").write_text(dump_toml(loaded.profile, loaded.origins))
    again = load_profile(tmp_path / "copy.toml")
    assert again.profile == loaded.profile


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=NAMES, lr=st.floats(1e-300, 1e300), steps=st.integers(1, 2**53), freeze=st.booleans())
def test_any_values_round_trip(tmp_path: Path, target: list[str], lr: float, steps: int, freeze: bool) -> None:
    from geotrap_cli.profile.schema import Profile

    profile = Profile.model_validate(
        {"data": {"target": target}, "train": {"lr": lr, "steps": steps}, "layers": {"freeze_head": freeze}}
    )
    (tmp_path / "copy.toml").write_text(dump_toml(profile), encoding="utf-8")
    again = load_profile(tmp_path / "copy.toml").profile
    assert (again.data, again.train, again.layers) == (profile.data, profile.train, profile.layers)


def test_origins_are_comments_on_each_line() -> None:
    loaded = load_profile(overrides=["train.steps=3"])
    lines = dump_toml(loaded.profile, loaded.origins).splitlines()
    assert "steps = 3  # --set" in lines
    assert "[traps.opacity]" in lines
    values = [line for line in lines if line and not line.startswith("[")]
    assert all("  # " in line for line in values)
