"""``geotrap defenses`` and ``geotrap train --defense``."""

from __future__ import annotations

from typing import Any

import pytest
from geotrap_defenses.ntl import NtlDefense

from geotrap_cli.plugins import plugin_keys


def test_every_defense_says_what_it_does_assumes_and_costs_and_where_it_is_from(geotrap: Any) -> None:
    document = geotrap("defenses", "--json").document
    assert [row["key"] for row in document["defenses"]] == plugin_keys("geotrap.defenses")
    for row in document["defenses"]:
        assert set(row) == {"key", "summary", "assumes", "cost", "source"}
        assert all(row.values()), row["key"]
        assert not any("\n" in text for text in row.values()), row["key"]


def test_a_fact_of_another_package_may_be_anything(geotrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NtlDefense, "cost", 2)
    rows = {row["key"]: row for row in geotrap("defenses", "--json").document["defenses"]}
    assert rows["ntl"]["cost"] == "2"
    assert geotrap("defenses").code == 0


def test_plugins_list_them(geotrap: Any) -> None:
    rows = geotrap("plugins", "defenses", "--json").document["plugins"]
    assert {row["key"] for row in rows} >= {"geotrap", "ntl", "none"}
    assert all(row["error"] is None for row in rows)


def test_an_unknown_defense_is_refused_with_the_closest(geotrap: Any) -> None:
    outcome = geotrap("train", "--defense", "sofon", "--dry-run")
    assert outcome.code == 2
    assert "unknown defense 'sofon'; did you mean 'sophon'?" in outcome.err


def test_a_run_that_goes_on_keeps_its_defense(geotrap: Any) -> None:
    outcome = geotrap("train", "--resume", "--defense", "ntl")
    assert outcome.code == 2
    assert "--resume continues with the run's own defense" in outcome.err
