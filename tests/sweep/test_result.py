"""Ranking and coupling gain of a sweep's rows."""

from __future__ import annotations

import csv
import dataclasses
import io

import pytest

from geotrap_cli.reports.tables import to_csv
from geotrap_cli.sweep.result import SweepRow, ranked, with_coupling


def row(*traps: str, recovery: float | None = 0.5, target_after: float = -1.0, broken: bool = False) -> SweepRow:
    return SweepRow(traps, recovery, -4.0, target_after, -0.2, "lora", 3.0, broken, "runs/x")


def test_coupling_gain_is_what_the_pair_adds_to_its_better_part() -> None:
    rows = with_coupling([row("a", target_after=-1.0), row("b", target_after=-2.5), row("a", "b", target_after=-3.0)])
    assert [one.coupling_gain for one in rows] == [None, None, pytest.approx(0.5)]


def test_coupling_gain_is_negative_where_one_part_alone_holds_better() -> None:
    rows = with_coupling([row("a", target_after=-4.0), row("b", target_after=-1.0), row("a", "b", target_after=-3.0)])
    assert rows[-1].coupling_gain == pytest.approx(-1.0)


def test_no_coupling_gain_without_every_part() -> None:
    assert with_coupling([row("a"), row("a", "b")])[-1].coupling_gain is None


def test_lowest_recovery_first_then_broken_then_undefined() -> None:
    rows = [row("a", recovery=None), row("b", recovery=0.1, broken=True), row("c", recovery=0.9), row("d")]
    assert [one.traps[0] for one in ranked(rows)] == ["d", "c", "b", "a"]


def test_csv_reads_back() -> None:
    (read,) = csv.DictReader(io.StringIO(to_csv([row("a", "b").record()])))
    assert read["traps"] == "a b"
    assert read["coupling_gain"] == ""
    assert list(read) == [field.name for field in dataclasses.fields(SweepRow)]
