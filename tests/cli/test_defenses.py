"""``geotrap defenses`` and ``geotrap train --defense``."""

from __future__ import annotations

from typing import Any

from geotrap_cli.plugins import plugin_keys


def test_every_defense_says_what_it_does_assumes_and_costs_and_where_it_is_from(geotrap: Any) -> None:
    document = geotrap("defenses", "--json").document
    assert [row["key"] for row in document["defenses"]] == plugin_keys("geotrap.defenses")
    for row in document["defenses"]:
        assert all(row[name] for name in ("summary", "assumes", "cost", "source")), row["key"]
        assert not any("\n" in text for text in row.values()), row["key"]


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
