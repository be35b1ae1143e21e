"""The order of the leaderboard, and what it says of what was not measured."""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.bench.board import Board, BoardRow, ranked
from geotrap_cli.bench.board_tables import (
    attack_table,
    board_records,
    escaped,
    leaderboard,
    markdown,
    not_tested_lines,
    worst_text,
)
from geotrap_cli.bench.write import summary, write_board
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.evaluation.validity import State
from geotrap_cli.reports.layout import TextTable


def row(
    name: str,
    recovery: float | None,
    state: State = State.VALID,
    missing: tuple[str, ...] = (),
    **fields: Any,
) -> BoardRow:
    """A row whose only measured attack is lora."""
    judgement: Any = None
    if recovery is not None:
        peak = Interval(recovery, recovery - 0.1, recovery + 0.1, 5)
        attack = SimpleNamespace(peak=peak, label="lora", pair=SimpleNamespace(defended=SimpleNamespace(key="lora")))
        verdict = SimpleNamespace(states=(state,), state=state)
        judgement = SimpleNamespace(worst=attack, attacks=[attack], verdict=verdict)
    return BoardRow(("nano", name), name, 2, missing, judgement, None, None, **fields)


def board(*rows: BoardRow) -> Board:
    return Board("quick", ranked(rows), ("lora", "full"), (0,), ())


def test_valid_first_then_doubtful_then_incomplete_then_unmeasured() -> None:
    rows = [
        row("nothing", None, missing=("lora, seed 0", "full, seed 0")),
        row("partly", 0.01, missing=("full, seed 0",)),
        row("broken", 0.02, State.SOURCE_BROKEN),
        row("doubtful", 0.95, State.ATTACK_WEAK),
        row("weak", 0.9),
        row("strong", 0.3),
        row("undefined", math.nan),
    ]
    assert [one.entry[1] for one in ranked(rows)] == [
        "strong",
        "weak",
        "doubtful",
        "broken",
        "partly",
        "undefined",
        "nothing",
    ]


def test_every_profile_has_an_order_of_its_own() -> None:
    rows = [row("a", 0.9), row("b", 0.2), row("a", 0.1), row("b", 0.95)]
    profiles = ["real", "real", "embedded", "embedded"]
    found = board(
        *(dataclasses.replace(one, entry=(name, one.method)) for one, name in zip(rows, profiles, strict=True))
    )
    order = [(line[0], line[1], line[2]) for line in leaderboard(found).rows]
    assert order == [("1", "real", "b"), ("2", "real", "a"), ("1", "embedded", "a"), ("2", "embedded", "b")]
    told = summary(found)
    assert told.startswith("real: b holds best: its worst attack, lora, recovers 20%")
    assert "embedded: a holds best: its worst attack, lora, recovers 10%" in told


def test_an_attack_that_diverged_is_a_lower_bound() -> None:
    found = board(row("weak", 0.9), row("rough", 0.05, diverged=("lora, seed 0",)))
    assert [one.entry[1] for one in found.rows] == ["weak", "rough"]
    rough = found.rows[1]
    assert rough.states == (State.DIVERGED,) and not rough.complete and worst_text(rough).startswith("≥ 5%")
    assert attack_table(found).rows[1][1] == "≥ 5%"
    assert "rough: 1 attack of 2 diverged before the end (lora, seed 0)" in not_tested_lines(found)
    assert board_records(found)[1]["state"] == "DIVERGED"


def test_what_was_not_tested_names_those_it_is_true_of() -> None:
    rows = [
        row("a", 0.1, not_tested=("x", "y")),
        row("b", 0.2, not_tested=("x", "y")),
        row("c", 0.3, not_tested=("x",)),
    ]
    told = not_tested_lines(board(*rows))
    assert "every measured defense: x" in told and "a, b: y" in told


@given(st.lists(st.tuples(st.none() | st.floats(-1, 2), st.booleans(), st.sampled_from(State)), max_size=8))
def test_what_is_not_wholly_measured_never_ranks_above_what_is(facts: list[Any]) -> None:
    rows = [row(str(i), share, state, ("full, seed 0",) if gap else ()) for i, (share, gap, state) in enumerate(facts)]
    order = [one.complete and one.worst is not None for one in ranked(rows)]
    assert order == sorted(order, reverse=True)
    for one in rows:
        if not one.complete:
            assert one.states[0] is State.NOT_RUN
            assert worst_text(one) == "not measured" or worst_text(one).startswith("≥ ")


def test_missing_attacks_are_named_and_never_a_number() -> None:
    found = board(
        row("strong", 0.3), row("partly", 0.1, missing=("full, seed 0",)), row("nothing", None, missing=("x",))
    )
    lines = {line[1]: line for line in leaderboard(found).rows}
    assert lines["strong"][:4] == ["1", "strong", "30% [20%, 40%]", "lora"]
    assert lines["partly"][0] == "–" and lines["partly"][2].startswith("≥ 10%") and "NOT_RUN" in lines["partly"][4]
    assert lines["nothing"][2] == "not measured"
    by_attack = {line[0]: line[1:] for line in attack_table(found).rows}
    assert by_attack["partly"] == ["10%", "–"]
    told = "\n".join(not_tested_lines(found))
    assert "partly: 1 attack of 2 not measured (full, seed 0)" in told
    assert "for every defense: the attacks" in told and "sgd" in told
    records = {record["defense"]: record for record in board_records(found)}
    assert records["nothing"]["worst_recovery"] is None and records["nothing"]["recovery_full"] is None
    assert records["partly"]["worst_recovery_is_lower_bound"] is True


def test_nobody_wins_without_a_valid_and_complete_result() -> None:
    doubtful = board(row("broken", 0.0, State.SOURCE_BROKEN), row("partly", 0.0, missing=("full, seed 0",)))
    assert summary(doubtful).startswith("No defense has a complete and valid result.")
    assert "1 defense of 2 not wholly measured" in summary(doubtful)
    assert {line[0] for line in leaderboard(doubtful).rows} == {"–"}
    assert summary(board(row("strong", 0.3))).startswith("strong holds best: its worst attack, lora, recovers 30%")


def test_failures_are_told(tmp_path: Any) -> None:
    failed = row("bad", None, missing=("lora, seed 0",), failures=("nano, bad, seed 0: defense: <nan> | loss",))
    paths = write_board(board(failed), tmp_path)
    assert "failed, nano, bad, seed 0: defense: &lt;nan&gt; | loss" in paths["page"].read_text()
    assert "\\<nan> \\| loss" in paths["Markdown"].read_text()


def test_markdown_keeps_bars_and_lines_inside_a_cell() -> None:
    text = markdown(TextTable("t", {"a": "left", "b\nc": "right"}, [["x|y", "1"]], "end"))
    assert text == "**t**\n\n| a | b c |\n| :-- | --: |\n| x\\|y | 1 |\n\nend\n"
    assert escaped("<class 'x'> of *a*\nb") == "\\<class 'x'> of \\*a\\* b"
