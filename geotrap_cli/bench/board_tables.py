"""The leaderboard as tables, and those as Markdown; what was not measured says so in every cell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from geotrap_cli.bench.board import Board, BoardRow
from geotrap_cli.bench.trials import as_overrides
from geotrap_cli.bench.tuning_tables import trials_text
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.plugins import plugin_keys
from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.tables import Record, format_interval
from geotrap_cli.reports.wording import format_share, plural

NOT_MEASURED = "not measured"
_MARKS = re.compile(r"[\\|<*`]")
CAPTION = (
    "recovery under the strongest attack: 0% is a white image, 100% the best undefended result; [95% interval over"
    " object groups]. Rows that are not VALID are no evidence and stand below those that are, whatever their number,"
    " with those that broke the source last; rows with attacks missing or diverged are lower bounds (≥) and stand"
    " below all. Each profile has a scale and an order of its own."
    " source: change by the defense, of the worst seed. trials: variants of attacks and seeds. seconds and gradient"
    " evaluations: of training the defense."
)
CAPTION_TUNED = f"{CAPTION} tuned: settings that were tried before, on other objects."


def leaderboard(board: Board) -> TextTable:
    """Return a line for each defense, in the order of the board."""
    many = len({row.entry[0] for row in board.rows}) > 1
    columns: dict[str, Justify] = {"#": "right", **({"profile": "left"} if many else {}), "defense": "left"}
    columns |= {"worst recovery": "right", "by": "left", "state": "left", "source, dB": "right"}
    columns |= dict.fromkeys(("attacks", "trials", "seconds", "gradients"), "right")
    columns |= {"tuned": "right"} if board.tunings else {}
    lines = [[_rank(board, row), *([row.entry[0]] if many else []), row.entry[1], *_figures(row)] for row in board.rows]
    title = f"Defenses of {board.name}, the one that holds best under its worst attack first"
    return TextTable(title, columns, lines, CAPTION_TUNED if board.tunings else CAPTION)


def _rank(board: Board, row: BoardRow) -> str:
    """Return the place of a row that may be believed; no other has one."""
    proven = [one for one in board.rows if one.proven and one.entry[0] == row.entry[0]]
    return str(proven.index(row) + 1) if row in proven else "–"


def worst_text(row: BoardRow) -> str:
    """Return the worst case; ``≥`` where attacks are missing."""
    if row.worst is None:
        return NOT_MEASURED if row.judgement is None else "undefined"
    return ("" if row.complete else "≥ ") + format_share(row.worst)


def _figures(row: BoardRow) -> list[str]:
    by = row.judgement.worst.label if row.judgement is not None else "–"
    source = NOT_MEASURED if row.source is None else format_interval(row.source, sign=True)
    cost = ["unknown", "unknown"]
    if row.effort is not None:
        cost = [f"{row.effort.seconds:.0f}", f"{row.effort.gradients:g}"]
    attacks = f"{row.asked - len(row.missing)}/{row.asked}"
    tuned = [] if row.tuning is None else [trials_text(row.tuning)]
    return [worst_text(row), by, " ".join(map(str, row.states)), source, attacks, str(row.variants), *cost, *tuned]


def attack_table(board: Board) -> TextTable:
    """Return the recovery of each attack, the strongest of its variants and seeds, by defense."""
    columns: dict[str, Justify] = {"defense": "left", **dict.fromkeys(board.attacks, "right")}
    lines = [[_name(board, row), *(_share(row, attack) for attack in board.attacks)] for row in board.rows]
    caption = f"the strongest variant and seed; – {NOT_MEASURED}, which is not safe"
    return TextTable("Recovery by attack", columns, lines, caption)


def _name(board: Board, row: BoardRow) -> str:
    return row.entry[1] if len({one.entry[0] for one in board.rows}) == 1 else " x ".join(row.entry)


def _share(row: BoardRow, attack: str) -> str:
    peak = row.recovery(attack)
    if peak is None:
        return "–"
    partly = any(name.startswith(f"{attack}, ") for name in (*row.missing, *row.diverged))
    return ("≥ " if partly else "") + format_share(Interval(peak.value, None, None, peak.groups))


def not_tested_lines(board: Board) -> list[str]:
    """Return what the board does not cover, one line each: of single defenses, and of all."""
    return [*_of_rows(board), *_of_all(board), *board.notes]


def _of_rows(board: Board) -> Iterator[str]:
    for row in board.rows:
        if row.missing:
            attacks = plural(len(row.missing), "attack")
            yield f"{_name(board, row)}: {attacks} of {row.asked} not measured ({', '.join(row.missing)})"
        if row.diverged:
            attacks = plural(len(row.diverged), "attack")
            yield f"{_name(board, row)}: {attacks} of {row.asked} diverged before the end ({', '.join(row.diverged)})"
        yield from (f"{_name(board, row)}: failed, {line}" for line in row.failures)


def _of_all(board: Board) -> Iterator[str]:
    missing = [key for key in plugin_keys("geotrap.attacks") if key not in board.attacks]
    if missing:
        yield f"for every defense: the attacks {', '.join(missing)}"
    if not board.tunings:
        yield "for every defense: other options than the grid's own, as it has no trials of tuning"
    # The first clause of a comparison lists the same attacks.
    shared = [line for row in board.rows for line in row.not_tested if not line.startswith("the attack")]
    for line in dict.fromkeys(shared):
        names = [_name(board, row) for row in board.rows if line in row.not_tested]
        everyone = len(names) > 1 and len(names) == sum(row.judgement is not None for row in board.rows)
        yield f"{'every measured defense' if everyone else ', '.join(names)}: {line}"


def board_records(board: Board) -> list[Record]:
    """Return the leaderboard as flat fields; what was not measured is None."""
    return [_record(board, row) for row in board.rows]


def _record(board: Board, row: BoardRow) -> Record:
    shares = {f"recovery_{key}": _values(row.recovery(key))[0] for key in board.attacks}
    worst, source = _values(row.worst), _values(row.source)
    return {
        "profile": row.entry[0],
        "defense": row.entry[1],
        "method": row.method,
        "state": str(row.states[0]),
        "states": " ".join(map(str, row.states)),
        "worst_recovery": worst[0],
        "worst_recovery_low": worst[1],
        "worst_recovery_high": worst[2],
        "worst_recovery_is_lower_bound": not row.complete,
        "worst_attack": None if row.judgement is None else row.judgement.worst.label,
        "source_change_db": source[0],
        "source_change_low": source[1],
        "source_change_high": source[2],
        "attacks_measured": row.asked - len(row.missing),
        "attacks_asked": row.asked,
        "trials": row.variants,
        "seconds": None if row.effort is None else row.effort.seconds,
        "gradient_evaluations": None if row.effort is None else row.effort.gradients,
        "tuning_trials": None if row.tuning is None else len(row.tuning.trials),
        "tuned_options": None if row.tuning is None else " ".join(as_overrides(row.tuning.setting)),
        **shares,
    }


def _values(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    """Return value, low and high; None for what is missing or no number, which JSON does not have."""
    if interval is None or not math.isfinite(interval.value):
        return None, None, None
    return interval.value, interval.low, interval.high


def markdown(table: TextTable) -> str:
    """Return a table as Markdown, with its title above and its caption below."""
    marks = {"left": ":--", "right": "--:", "center": ":-:"}
    lines = [list(table.columns), [marks.get(str(justify), "---") for justify in table.columns.values()], *table.rows]
    text = "\n".join(f"| {' | '.join(map(escaped, line))} |" for line in lines)
    return f"**{escaped(table.title)}**\n\n{text}\n" + (f"\n{escaped(table.caption)}\n" if table.caption else "")


def escaped(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _MARKS.sub(r"\\\g<0>", text).replace("\n", " ")
