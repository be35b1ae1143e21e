"""The table of the ablation: a row a mechanism, from the records of its finished cells, as markdown and CSV."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from _grid import crossed_interval, values_by_object

from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.reports.tables import Record, format_interval, format_number, to_csv

BASE = "base"
UNDEFENDED_ROW = "undefended"
NONE = "–"
Seeds = Mapping[int, Mapping[str, Any]]
"""The records of one mechanism by seed."""
Value = Callable[[Mapping[str, Any]], float]

CAPTION = (
    "Foreground PSNR in dB on held-out objects and novel views, mean over seeds and objects [95 %, seeds and objects "
    "resampled]. Lower is better for the defender on target. − base: paired, same seeds and objects; below 0 the "
    "mechanism holds better than the base. source: defended − undefended as released, best at 0. seconds: of the "
    "training with its audit, CPU time (wall time on CUDA), fastest seed; memory: peak of the process that trained, "
    "largest seed."
)


@dataclass(frozen=True)
class Row:
    """One mechanism.

    Attributes:
        mechanism: Its profile.
        seeds: Seeds that are finished.
        figures: Intervals by name, in dB; a difference is named after what is subtracted.
        seconds: Of the training with its audit, CPU time (wall time on CUDA), the fastest seed; None where no seed
            was timed.
        memory: Peak memory of the training, bytes, the largest seed; None where none was measured.
    """

    mechanism: str
    seeds: int
    figures: Mapping[str, Interval]
    seconds: float | None = None
    memory: float | None = None

    def record(self) -> Record:
        """The row as flat fields, for CSV."""
        flat: Record = {"mechanism": self.mechanism, "seeds": self.seeds}
        for name, interval in self.figures.items():
            flat |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
        return flat | {"train_seconds": self.seconds, "peak_memory_bytes": self.memory}


def make_rows(found: Mapping[str, Seeds]) -> list[Row]:
    """The undefended weights, the base, and every other mechanism that has a finished seed, in the given order."""
    found = {mechanism: seeds for mechanism, seeds in found.items() if seeds}
    base = found.get(BASE, {})
    rows = [_undefended_row(base)] if base else []
    return rows + [_row(mechanism, seeds, base) for mechanism, seeds in found.items()]


def _undefended_row(base: Seeds) -> Row:
    """What the attacks reach without a defense; it costs nothing."""
    figures = {}
    for method in _methods(base):
        figures["target_before"] = _mean(base, method, "target", operator.itemgetter("undefended_before"))
        figures[f"target_after_{method}"] = _mean(base, method, "target", operator.itemgetter("undefended_after"))
    return Row(UNDEFENDED_ROW, len(base), figures)


def _row(mechanism: str, seeds: Seeds, base: Seeds) -> Row:
    figures = {}
    for method in _methods(seeds):
        # The weights as released are the same under every attack.
        figures["target_before"] = _mean(seeds, method, "target", _before)
        figures["target_before_minus_undefended"] = _mean(seeds, method, "target", operator.itemgetter("before"))
        figures[f"target_after_{method}"] = _mean(seeds, method, "target", _after)
        figures[f"target_after_{method}_minus_undefended"] = _mean(
            seeds, method, "target", operator.itemgetter("after")
        )
        if mechanism != BASE and (shared := seeds.keys() & base.keys()):
            figures[f"target_after_{method}_minus_base"] = _against(seeds, base, sorted(shared), method)
        figures["source_before_minus_undefended"] = _mean(seeds, method, "source", operator.itemgetter("before"))
        figures[f"source_after_{method}_minus_undefended"] = _mean(
            seeds, method, "source", operator.itemgetter("after")
        )
    costs = [record["cost"] for record in seeds.values() if record["cost"] is not None]
    seconds = min((cost["seconds"] for cost in costs), default=None)
    return Row(mechanism, len(seeds), figures, seconds, max((cost["memory"] for cost in costs), default=None))


def _methods(seeds: Seeds) -> list[str]:
    return list(next(iter(seeds.values()))["attacks"])


def _before(entry: Mapping[str, Any]) -> float:
    return float(entry["undefended_before"] + entry["before"])


def _after(entry: Mapping[str, Any]) -> float:
    return float(entry["undefended_after"] + entry["after"])


def _mean(seeds: Seeds, method: str, split: str, value: Value) -> Interval:
    return crossed_interval(*values_by_object(_objects(seeds, sorted(seeds), method), split, value))


def _objects(seeds: Seeds, chosen: Sequence[int], method: str) -> list[Sequence[Mapping[str, Any]]]:
    return [seeds[seed]["attacks"][method] for seed in chosen]


def _against(seeds: Seeds, base: Seeds, shared: Sequence[int], method: str) -> Interval:
    """Mechanism less base, object by object on the shared seeds."""
    ours, groups = values_by_object(_objects(seeds, shared, method), "target", _after)
    theirs, _ = values_by_object(_objects(base, shared, method), "target", _after)
    differences = {id: [a - b for a, b in zip(row, theirs[id], strict=True)] for id, row in ours.items()}
    return crossed_interval(differences, groups)


def to_markdown(rows: Sequence[Row]) -> str:
    """The rows as a markdown table under its caption."""
    methods = list(dict.fromkeys(_method(name) for row in rows for name in row.figures if _method(name)))
    after = [column for method in methods for column in (f"after {method}", "− base")]
    head = ["mechanism", "seeds", "target before", *after, "source", "seconds", "memory, GB"]
    lines = [_line(head), _line(["---"] * len(head)), *(_line(_cells(row, methods)) for row in rows)]
    return f"{CAPTION}\n\n" + "\n".join(lines) + "\n"


def _method(name: str) -> str:
    """The attack of a figure of the target's absolute quality; empty for other figures."""
    return "" if "_minus_" in name else name.partition("target_after_")[2]


def _cells(row: Row, methods: Sequence[str]) -> list[str]:
    figures = [_figure(row, "target_before")]
    for method in methods:
        figures += [
            _figure(row, f"target_after_{method}"),
            _figure(row, f"target_after_{method}_minus_base", sign=True),
        ]
    figures.append(_figure(row, "source_before_minus_undefended", sign=True))
    if row.mechanism == UNDEFENDED_ROW:
        costs = [NONE, NONE]
    else:
        memory = None if row.memory is None else row.memory / 1e9
        costs = [format_number(row.seconds, 0), format_number(memory)]
    return [f"`{row.mechanism}`", str(row.seeds), *figures, *costs]


def _figure(row: Row, name: str, sign: bool = False) -> str:
    return format_interval(row.figures[name], 2, sign) if name in row.figures else NONE


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def rows_to_csv(rows: Sequence[Row]) -> str:
    """The rows with every figure, bounds included."""
    return to_csv([row.record() for row in rows])
