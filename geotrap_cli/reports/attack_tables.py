"""The tables of one attack of a comparison, readable in 100 columns."""

from __future__ import annotations

from collections.abc import Callable, Collection

from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, Cell
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.pairing import SPLITS, Split
from geotrap_cli.reports.tables import ComparisonRow, format_cell, format_interval, format_number, metric_label
from geotrap_cli.reports.usage_text import usage_rows
from geotrap_cli.reports.wording import count_interval_text, count_text, format_share, plural

_SIDES = ("undefended", "defended", "difference", "ratio")
_HEALTH_LABELS: dict[str, tuple[str, Callable[[float], str]]] = {
    "zero_gradient_share": ("gradients exactly zero", lambda share: f"{share:.1%}"),
    "saturated_share": ("Gaussians no loss can move", lambda share: f"{share:.1%}"),
    "nonfinite": ("non-finite steps", format_cell),
    "loss_decreased": ("attack loss decreased", format_cell),
}


def detail_tables(comparison: Comparison, attack: JudgedAttack) -> list[TextTable]:
    """Return the tables of one attack: before and after, along the way, steps to recover, gaps, health and costs."""
    return [
        before_and_after(comparison, attack),
        _along_the_way(comparison, attack),
        _steps_table(attack),
        _gap_table(attack),
        _circumstances(comparison, attack),
    ]


def before_and_after(comparison: Comparison, attack: JudgedAttack, metrics: Collection[str] | None = None) -> TextTable:
    """Return the ratios of one attack on target and source, before and after it, of all or of some metrics."""
    columns: dict[str, Justify] = {"": "left", **dict.fromkeys(_SIDES, "right")}
    rows: list[list[str]] = []
    for split in SPLITS:
        for step in dict.fromkeys((attack.pair.steps[0], attack.pair.steps[-1])):
            rows += _metric_rows(comparison, attack.label, split, step, metrics)
    title = f"{attack.label}: before and after {plural(attack.pair.steps[-1], 'step')}{_cut_short(attack)}"
    caption = "difference = defended - undefended; ratio = defended ÷ undefended; held-out objects, novel views"
    return TextTable(title, columns, rows, caption)


def _metric_rows(
    comparison: Comparison, method: str, split: Split, step: int, metrics: Collection[str] | None
) -> list[list[str]]:
    """Return the rows of one split at one step below a row that names them."""
    at_step = [row for row in comparison.rows if (row.attack, row.split, row.step) == (method, split, step)]
    found = [row for row in at_step if metrics is None or row.metric in metrics]
    name = f"{split}, before the attack" if step == 0 else f"{split}, after {plural(step, 'step')}"
    if not found:
        return [[f"{name}: not measured", "", "", "", ""]]
    return [[name, "", "", "", ""], *([f"  {metric_label(row.metric)}", *_values(row)] for row in found)]


def _along_the_way(comparison: Comparison, attack: JudgedAttack) -> TextTable:
    columns: dict[str, Justify] = dict.fromkeys(("step", *_SIDES, "recovery"), "right")
    found = comparison.metric_rows(attack.label, HEADLINE, "target")
    rows = [
        [str(row.step), *_values(row), format_share(recovery)]
        for row, recovery in zip(found, attack.statistics.recovery[DEFENDED], strict=False)
    ]
    return TextTable(f"{attack.label}: foreground PSNR (dB) on target, by attack step", columns, rows)


def _steps_table(attack: JudgedAttack) -> TextTable:
    counts = attack.statistics.counts
    columns: dict[str, Justify] = {"": "left", **{f"{count.threshold:.0%}": "right" for count in counts}}
    rows = [[name, *(count_interval_text(count.counts[name]) for count in counts)] for name in counts[0].counts]
    rows += [
        [f"defended ÷ {name}", *(count_interval_text(count.slow_down[name]) for count in counts)]
        for name in counts[0].slow_down
    ]
    evaluated = ", ".join(map(str, attack.pair.steps))
    caption = f"evaluated after {evaluated} steps; > means that it was not reached"
    return TextTable(f"{attack.label}: steps to recover a share of the ceiling", columns, rows, caption)


def _gap_table(attack: JudgedAttack) -> TextTable:
    columns: dict[str, Justify] = {"similarity": "left", **dict.fromkeys(("mean", "peak", "final"), "right")}
    rows = [
        [metric_label(metric), *(format_interval(part, 3, sign=True) for part in (gap.mean, gap.peak, gap.final))]
        for metric, gap in attack.statistics.gaps.items()
    ]
    caption = "SGR = (undefended - defended) \u00f7 undefended at each evaluation after the attack began"
    return TextTable(f"{attack.label}: relative gap", columns, rows, caption)


def _circumstances(comparison: Comparison, attack: JudgedAttack) -> TextTable:
    cells = [attack.pair.cell(subject) for subject in SUBJECTS]
    costs = [comparison.costs[attack.label][subject] for subject in SUBJECTS]
    rows = [
        ["attack loss, start", *(_loss(cell.first_loss) for cell in cells)],
        ["attack loss, end", *(_loss(cell.last_loss) for cell in cells)],
        *([label, *(_health_text(cell, key) for cell in cells)] for key, (label, _) in _HEALTH_LABELS.items()),
        ["seconds", *(f"{cost.seconds:.1f}" for cost in costs)],
        [f"seconds to {comparison.threshold:.0%}", *(count_text(cost.seconds_to_recover) for cost in costs)],
        ["objects in batches", *(format_cell(cost.samples) for cost in costs)],
        ["trained parameters", *(f"{cost.trainable_parameters:,}" for cost in costs)],
        *usage_rows([cost.usage for cost in costs]),
    ]
    columns: dict[str, Justify] = {"": "left", **dict.fromkeys(SUBJECTS, "right")}
    return TextTable(f"{attack.label}: health and cost", columns, rows)


def _values(row: ComparisonRow) -> list[str]:
    # Two decimals of a decibel are below seed noise; SSIM and the like live between 0 and 1.
    decimals = 2 if row.metric.endswith("psnr") else 3
    values = row.values
    return [
        format_number(values.undefended.value, decimals),
        format_number(values.defended.value, decimals),
        format_interval(values.difference, decimals, sign=True),
        format_interval(values.ratio, 2),
    ]


def _health_text(cell: Cell, key: str) -> str:
    value = getattr(cell.health, key, None)
    return "n/a" if value is None else _HEALTH_LABELS[key][1](value)


def _loss(loss: float | None) -> str:
    return format_number(loss, 4)


def _cut_short(attack: JudgedAttack) -> str:
    budget = attack.pair.defended.steps
    return "" if attack.pair.steps[-1] == budget else f" of {budget} (cut short)"
