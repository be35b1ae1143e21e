"""How the defenses of a leaderboard were tuned, as a table: trials, what was chosen, and by which numbers."""

from __future__ import annotations

from geotrap_cli.bench.board import Board
from geotrap_cli.bench.choice import EntryTuning
from geotrap_cli.bench.trials import Setting
from geotrap_cli.reports.layout import Justify, TextTable

CAPTION = (
    "trials: settings measured of those tried, the grid's own setting among them. worst: target quality that the"
    " strongest attack of [tune] reaches from the chosen setting, and in brackets from the undefended weights; source"
    " loss: before any attack. Both are on validation objects, which no other number here is from."
)
OWN = "the grid's own"


def tuning_table(board: Board) -> TextTable:
    """Return a line for each defense, in the order of the board."""
    many = len({row.entry[0] for row in board.rows}) > 1
    columns: dict[str, Justify] = {**({"profile": "left"} if many else {}), "defense": "left", "trials": "right"}
    columns |= {"chosen": "right", "options": "left", "worst, dB": "right", "source loss, dB": "right"}
    lines = [[*(one.entry if many else one.entry[1:]), *_line(one)] for one in board.tunings]
    return TextTable("Tuning", columns, lines, CAPTION)


def trials_text(tuning: EntryTuning) -> str:
    """Return how many trials a defense had; a dash where it has nothing to search."""
    if not tuning.trials:
        return "–"
    measured, tried = len(tuning.measured), len(tuning.trials)
    return str(tried) if measured == tried else f"{measured} of {tried}"


def setting_text(setting: Setting) -> str:
    """Return the values of a setting, one after the other."""
    return ", ".join(f"{name}={value}" for name, value in setting.items()) or OWN


def _line(tuning: EntryTuning) -> list[str]:
    if not tuning.trials:
        return [trials_text(tuning), "–", "nothing to search", "–", "–"]
    chosen = tuning.chosen
    if chosen is None or chosen.score is None:
        return [trials_text(tuning), "–", f"{OWN}: no trial was measured", "–", "–"]
    score = chosen.score
    loss = f"{score.source_loss:.2f}" + ("" if tuning.within_bound else f", above {tuning.bound:g} in every trial")
    worst = f"{score.worst:.2f} ({score.undefended:.2f}) by {score.attack}"
    return [trials_text(tuning), str(chosen.number), setting_text(chosen.setting), worst, loss]
