"""docs/defenses.md has a formula for every defense and a line for every hook."""

from __future__ import annotations

from pathlib import Path

import pytest

from geotrap_cli.defenses import Defense
from geotrap_cli.plugins import BUILT_IN, list_plugins, load_plugin

SEARCHED = "## What tuning searches"
PAGE = (Path(__file__).parents[2] / "docs" / "defenses.md").read_text(encoding="utf-8")


def test_every_defense_has_its_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOTRAP_PLUGINS", "off")
    keys = {info.key for info in list_plugins("geotrap.defenses") if info.package == BUILT_IN}
    written = {line.split("`")[1] for line in PAGE.partition("## Formulas")[2].splitlines() if line.startswith("| `")}
    hooks = {name for name, value in vars(Defense).items() if callable(value) and not name.startswith("_")}
    assert {row for row in written if "(" not in row} == keys
    assert {row.partition("(")[0] for row in written if "(" in row} == hooks - {"Config"}


def test_every_searched_option_is_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOTRAP_PLUGINS", "off")
    section = PAGE.partition(SEARCHED)[2].partition("\n## ")[0]
    rows = {line.split("`")[1]: line.split("|")[2] for line in section.splitlines() if line.startswith("| `")}
    infos = [info for info in list_plugins("geotrap.defenses") if info.package == BUILT_IN]
    assert rows.keys() == {info.key for info in infos}
    for info in infos:
        search = load_plugin("geotrap.defenses", info.key).search
        named = set(rows[info.key].split("`")[1::2]) if search else set()
        assert named == search.keys() - {"train.lr"}
        assert bool(search) is not rows[info.key].startswith(" nothing")
