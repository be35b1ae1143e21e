"""docs/defenses.md has a formula for every defense and a line for every hook."""

from __future__ import annotations

from pathlib import Path

import pytest

from geotrap_cli.defenses import Defense
from geotrap_cli.plugins import BUILT_IN, list_plugins

PAGE = (Path(__file__).parents[2] / "docs" / "defenses.md").read_text(encoding="utf-8")


def test_every_defense_has_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOTRAP_PLUGINS", "off")
    keys = {info.key for info in list_plugins("geotrap.defenses") if info.package == BUILT_IN}
    written = {line.split("`")[1] for line in PAGE.partition("## Formulas")[2].splitlines() if line.startswith("| `")}
    hooks = {name for name, value in vars(Defense).items() if callable(value) and not name.startswith("_")}
    assert {row for row in written if "(" not in row} == keys
    assert {row.partition("(")[0] for row in written if "(" in row} == hooks - {"Config"}
