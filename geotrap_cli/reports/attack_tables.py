"""The tables of a comparison: all attacks in one overview, then each attack in detail, readable in 100 columns."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Group

from geotrap_cli.evaluation.bootstrap import CONFIDENCE
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED, Cell
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import JudgedAttack, Recovered
from geotrap_cli.reports.layout import Justify, make_table
from geotrap_cli.reports.pairing import SPLITS, Split
from geotrap_cli.reports.quality import best_quality
from geotrap_cli.reports.tables import ComparisonRow, format_cell, format_interval, format_number, metric_label
from geotrap_cli.reports.wording import format_share

_SIDES = ("undefended", "defended", "difference", "ratio")
_HIDDEN = frozenset({"alpha_iou"})
_HEALTH_LABELS: dict[str, tuple[str, Callable[[float], str]]] = {
    "zero_gradient_share": ("gradients exactly zero", lambda share: f"{share:.1%}"),
    "saturated_share": ("Gaussians no loss can move", lambda share: f"{share:.1%}"),
    "nonfinite": ("non-finite steps", format_cell),
    "loss_decreased": ("attack loss decreased", format_cell),
}


def overview_table(comparison: Comparison) -> Group:
    """Return one line for each attack, the one that recovers most first, and the scale in the caption."""
    threshold = f"{comparison.threshold:.0%}"
    columns: dict[str, Justify] = {
        "attack": "left",
        "state": "left",
        "recovery": "left",
        "undefended\nbest (dB)": "right",
        "defended\nbest (dB)": "right",
        f"undefended\nsteps to {threshold}": "right",
        f"defended\nsteps to {threshold}": "right",
    }
    rows = [_overview_row(attack, comparison.threshold) for attack in comparison.attacks]
    title = "Attacks: foreground PSNR on held-out target objects, novel views"
    return make_table(title, columns, rows, _scale_caption(comparison))


def detail_tables(comparison: Comparison, attack: JudgedAttack) -> list[Group]:
    """Return the tables of one attack: before and after, along the way, steps to recover, health and costs."""
    return [
        _before_and_after(comparison, attack),
        _along_the_way(comparison, attack),
        _steps_table(attack),
        _circumstances(attack),
    ]


def _overview_row(attack: JudgedAttack, threshold: float) -> list[str]:
    count = next(count for count in attack.counts if count.threshold == threshold)
    return [
        attack.method,
        str(attack.verdict.state),
        format_share(attack.peak),
        *(format_number(best_quality(attack.pair, subject)) for subject in SUBJECTS),
        _count_text(count.undefended),
        _count_text(count.defended),
    ]


def _scale_caption(comparison: Comparison) -> str:
    scale = comparison.scale
    groups = len(set(scale.groups))
    sample = f"{_plural(len(scale.groups), 'object')} in {_plural(groups, 'group')}"
    interval = f"{CONFIDENCE:.0%} bootstrap intervals over groups" if groups > 1 else "one group, so no intervals"
    return (
        f"recovery 0% = white image, {format_number(scale.floor_db)} dB; 100% = best undefended, "
        f"{format_number(scale.ceiling_db)} dB ({scale.method}, step {scale.step})\n{sample}; {interval}"
    )


def _before_and_after(comparison: Comparison, attack: JudgedAttack) -> Group:
    columns: dict[str, Justify] = {"": "left", **dict.fromkeys(_SIDES, "right")}
    rows: list[list[str]] = []
    for split in SPLITS:
        for step in dict.fromkeys((attack.pair.steps[0], attack.pair.steps[-1])):
            rows += _metric_rows(comparison, attack.method, split, step)
    title = f"{attack.method}: before and after {_plural(attack.pair.steps[-1], 'step')}{_cut_short(attack)}"
    caption = "difference = defended - undefended; ratio = defended ÷ undefended; held-out objects, novel views"
    return make_table(title, columns, rows, caption)


def _metric_rows(comparison: Comparison, method: str, split: Split, step: int) -> list[list[str]]:
    """Return the rows of one split at one step below a row that names them."""
    found = [row for row in comparison.rows if (row.attack, row.split, row.step) == (method, split, step)]
    name = f"{split}, before the attack" if step == 0 else f"{split}, after {_plural(step, 'step')}"
    if not found:
        return [[f"{name}: not measured", "", "", "", ""]]
    visible = [row for row in found if row.metric not in _HIDDEN]
    return [[name, "", "", "", ""], *([f"  {metric_label(row.metric)}", *_values(row)] for row in visible)]


def _along_the_way(comparison: Comparison, attack: JudgedAttack) -> Group:
    columns: dict[str, Justify] = dict.fromkeys(("step", *_SIDES, "recovery"), "right")
    found = comparison.metric_rows(attack.method, HEADLINE, "target")
    rows = [
        [str(row.step), *_values(row), format_share(recovery)]
        for row, recovery in zip(found, attack.recovery[DEFENDED], strict=False)
    ]
    return make_table(f"{attack.method}: foreground PSNR (dB) on target, by attack step", columns, rows)


def _steps_table(attack: JudgedAttack) -> Group:
    columns: dict[str, Justify] = {
        "": "left",
        **{f"{count.threshold:.0%}": "right" for count in attack.counts},
    }
    lines: dict[str, Callable[[Recovered], int | float | Censored | None]] = {
        UNDEFENDED: lambda count: count.undefended,
        DEFENDED: lambda count: count.defended,
        "times slower": lambda count: count.slow_down,
    }
    rows = [[name, *(_count_text(value(count)) for count in attack.counts)] for name, value in lines.items()]
    evaluated = ", ".join(map(str, attack.pair.steps))
    caption = f"evaluated after {evaluated} steps; > means that it was not reached"
    return make_table(f"{attack.method}: steps to recover a share of the ceiling", columns, rows, caption)


def _circumstances(attack: JudgedAttack) -> Group:
    cells = [attack.pair.cell(subject) for subject in SUBJECTS]
    rows = [
        ["attack loss, start", *(_loss(cell.first_loss) for cell in cells)],
        ["attack loss, end", *(_loss(cell.last_loss) for cell in cells)],
        *([label, *(_health_text(cell, key) for cell in cells)] for key, (label, _) in _HEALTH_LABELS.items()),
        ["seconds", *(f"{cell.seconds:.1f}" for cell in cells)],
        ["trained parameters", *(f"{cell.trainable_parameters:,}" for cell in cells)],
    ]
    columns: dict[str, Justify] = {"": "left", **dict.fromkeys(SUBJECTS, "right")}
    return make_table(f"{attack.method}: health and cost", columns, rows)


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


def _count_text(count: int | float | Censored | None) -> str:
    if isinstance(count, Censored):
        return f">{count.at:.3g}" if count.at % 1 else str(count)
    return "n/a" if count is None else f"{count:g}" if isinstance(count, int) else f"{count:.2f}"


def _health_text(cell: Cell, key: str) -> str:
    value = getattr(cell.health, key, None)
    return "n/a" if value is None else _HEALTH_LABELS[key][1](value)


def _loss(loss: float | None) -> str:
    return format_number(loss, 4)


def _cut_short(attack: JudgedAttack) -> str:
    budget = attack.pair.defended.steps
    return "" if attack.pair.steps[-1] == budget else f" of {budget} (cut short)"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
