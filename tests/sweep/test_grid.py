"""Which combinations a sweep has, and what their profiles are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.errors import UsageError
from geotrap_cli.profile.load import load_profile
from geotrap_cli.sweep.grid import DEFAULT_TRAPS, Combination, combination_profile, combinations, default_traps


@settings(deadline=None)  # the first example loads the plug-ins
@given(st.integers(1, 5), st.booleans())
def test_every_choice_once(size: int, singles: bool) -> None:
    found = combinations(DEFAULT_TRAPS, size, singles)
    alone = len(DEFAULT_TRAPS) if singles and size > 1 else 0
    assert len(found) == math.comb(len(DEFAULT_TRAPS), size) + alone
    assert len({frozenset(one.traps) for one in found}) == len(found)
    assert [one for one in found if len(one.traps) == 1][:alone] == found[:alone]


@pytest.mark.parametrize(
    ("traps", "size", "message"),
    [
        (("position", "scale"), 3, "--size 3 of 2 traps"),
        (("position", "position"), 1, "names position twice"),
        (("position", "sclae"), 1, "'sclae'"),
    ],
)
def test_wrong_grids_are_refused(traps: tuple[str, ...], size: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        combinations(traps, size, singles=True)


def test_default_is_a_trap_for_each_attribute() -> None:
    assert default_traps() == DEFAULT_TRAPS


def test_profile_replaces_the_traps_and_nothing_else(tmp_path: Path) -> None:
    base = load_profile("pos_opacity", ("train.steps=7", "traps.opacity.weight=3.0"), env={})
    loaded = combination_profile(base, Combination(("opacity", "scale")), tmp_path)
    assert loaded.name == "opacity-scale"
    assert list(loaded.profile.traps) == ["opacity", "scale"]
    # What the base says of a trap stays; a trap it does not know has its defaults.
    assert loaded.profile.traps["opacity"] == base.profile.traps["opacity"]
    assert loaded.profile.traps["scale"].weight == 1.0
    others = {name: table for name, table in loaded.profile.tables().items() if name != "traps"}
    assert others == {name: table for name, table in base.profile.tables().items() if name != "traps"}
