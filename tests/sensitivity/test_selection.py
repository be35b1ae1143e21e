from __future__ import annotations

import math
from pathlib import Path

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.profile import load_profile
from geotrap_cli.reports.tables import SensitivityRow
from geotrap_cli.sensitivity.gradients import UnitParameters
from geotrap_cli.sensitivity.scores import UnitScore
from geotrap_cli.sensitivity.selection import candidates, check_selection, layers_fragment, select_units


def score(unit: str, ratio: float) -> UnitScore:
    value = Interval(ratio, None, None, 1)
    return UnitScore(SensitivityRow(unit, {"scale": value}, value, False, False), 1, 1.0, {}, {}, {})


def test_candidates_leave_out_the_head_and_what_an_adapter_reaches(micro: LGM) -> None:
    units = UnitParameters.of(micro, micro.units())
    reached = frozenset({"unet.conv_in"})
    assert candidates(units, reached, lora_safe=False, frozen=()) == set(units.names)
    assert candidates(units, reached, False, micro.head_units) == set(units.names) - {"conv", "unet.conv_out"}
    assert candidates(units, reached, True, ()) == set(units.names) - reached


def test_the_first_allowed_units_with_a_ratio_are_chosen() -> None:
    ranked = [score("a", 3), score("b", 2), score("c", 1), score("d", math.nan)]
    assert select_units(ranked, 2, frozenset("acd"), "scale") == ["a", "c"]
    assert select_units(ranked, 4, frozenset("acd"), "geometric_mean") == ["a", "c"]


def test_too_many_are_refused() -> None:
    check_selection(2, frozenset("ab"))
    with pytest.raises(UsageError, match="--select 3: only 2 units"):
        check_selection(3, frozenset("ab"))


def test_a_profile_can_extend_the_fragment(tmp_path: Path) -> None:
    units = ["unet.conv_in", "unet.down_blocks.0.nets.1"]
    text = layers_fragment(units, "20260101T000000Z-analyze-layers-pos_opacity", "The first 2 units")
    (tmp_path / "layers.toml").write_text(text)
    (tmp_path / "mine.toml").write_text('extends = ["pos_opacity", "layers.toml"]\n[train]\nsteps = 5\n')
    profile = load_profile(tmp_path / "mine.toml", env={}).profile
    assert profile.layers.units == tuple(units)
    assert set(profile.traps) == {"position", "opacity"}
    assert "# Analysis: 20260101T000000Z-analyze-layers-pos_opacity\n" in text
