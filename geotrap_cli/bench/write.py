"""The files of a leaderboard: a page, Markdown, CSV and JSON, beside the store that they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from geotrap_cli import __version__
from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.bench.board import Board, BoardRow
from geotrap_cli.bench.board_tables import (
    attack_table,
    board_records,
    escaped,
    leaderboard,
    markdown,
    not_tested_lines,
    worst_text,
)
from geotrap_cli.bench.choice import EntryTuning
from geotrap_cli.bench.tuning_tables import tuning_table
from geotrap_cli.reports.page.write import page_template
from geotrap_cli.reports.tables import to_csv
from geotrap_cli.reports.wording import plural

FILES = {
    "page": "leaderboard.html",
    "Markdown": "leaderboard.md",
    "table": "leaderboard.csv",
    "all": "leaderboard.json",
}
TUNING = "tuning.json"


def summary(board: Board) -> str:
    """Return what the board comes down to, in a sentence or two for each profile."""
    rows: dict[str, list[BoardRow]] = {}
    for row in board.rows:
        rows.setdefault(row.entry[0], []).append(row)
    texts = {profile: _summary_of(found) for profile, found in rows.items()}
    return " ".join(f"{profile}: {text}" if len(texts) > 1 else text for profile, text in texts.items())


def _summary_of(rows: Sequence[BoardRow]) -> str:
    missing = sum(not row.complete for row in rows)
    rest = f" {plural(missing, 'defense')} of {len(rows)} not wholly measured." if missing else ""
    best = next((row for row in rows if row.proven), None)
    if best is None or best.judgement is None:
        return f"No defense has a complete and valid result.{rest}"
    attack = best.judgement.worst.label
    return f"{best.entry[1]} holds best: its worst attack, {attack}, recovers {worst_text(best)}.{rest}"


def board_document(board: Board) -> dict[str, Any]:
    """Return the board as JSON values."""
    return {
        "grid": board.name,
        "summary": summary(board),
        "attacks": list(board.attacks),
        "seeds": list(board.seeds),
        "rows": [
            {
                **record,
                "missing": list(row.missing),
                "diverged": list(row.diverged),
                "failures": list(row.failures),
            }
            for record, row in zip(board_records(board), board.rows, strict=True)
        ],
        "tuning": [tuning.payload() for tuning in board.tunings],
        "not_tested": not_tested_lines(board),
    }


def write_tuning(tunings: Iterable[EntryTuning], folder: Path) -> None:
    """Write what was tried and chosen of each defense so far, atomically."""
    write_json(folder / TUNING, [tuning.payload() for tuning in tunings])


def write_board(board: Board, folder: Path) -> dict[str, Path]:
    """Write all files, atomically, and return what is where."""
    paths = {what: folder / name for what, name in FILES.items()}
    write_json(paths["all"], board_document(board))
    write_text(paths["table"], to_csv(board_records(board)))
    write_text(paths["Markdown"], _markdown(board))
    write_text(paths["page"], _page(board))
    return paths | ({"tuning": folder / TUNING} if board.tunings else {})


def _markdown(board: Board) -> str:
    lines = "".join(f"- {escaped(line)}\n" for line in not_tested_lines(board))
    found = [leaderboard(board), attack_table(board), *([tuning_table(board)] if board.tunings else [])]
    tables = "\n".join(map(markdown, found))
    return f"# {escaped(board.name)}\n\n{escaped(summary(board))}\n\n{tables}\n**What was not tested**\n\n{lines}"


def _page(board: Board) -> str:
    return str(
        page_template("bench.html.j2").render(
            version=__version__,
            board=board,
            summary=summary(board),
            leaderboard=leaderboard(board),
            attacks=attack_table(board),
            tuning=tuning_table(board) if board.tunings else None,
            not_tested=not_tested_lines(board),
        )
    )
