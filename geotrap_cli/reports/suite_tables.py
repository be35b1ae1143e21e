"""The tables of a comparison over all attacks: overview, resistance, seeds, and the numbers they come down to."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from geotrap_cli.evaluation.bootstrap import CONFIDENCE
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS
from geotrap_cli.evaluation.curves import CountInterval
from geotrap_cli.evaluation.recovery import Censored, Count
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.quality import best_quality, nan_last
from geotrap_cli.reports.quantities import Quantity
from geotrap_cli.reports.seeds import SeedSeries
from geotrap_cli.reports.tables import format_number, metric_label
from geotrap_cli.reports.wording import count_interval_text, count_text, format_share, plural

_SUMMARY = (
    "worst_",
    "mean_recovery",
    "source_change_",
    "benign_trainability",
    "defense_seconds",
    "attack_seconds",
    "trials",
)


def overview_table(comparison: Comparison, limit: int | None = None) -> TextTable:
    """Return one line for each attack, the one that recovers most first, and the scale in the caption.

    Args:
        comparison: What was found.
        limit: Attacks that get a line; the caption tells of the others. The last line is about all in any case.
    """
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
    rows = [_overview_row(attack, comparison.threshold) for attack in comparison.attacks[:limit]]
    rows.append(_worst_case(comparison))
    title = "Attacks: foreground PSNR on held-out target objects, novel views"
    hidden = len(comparison.attacks) + 1 - len(rows)
    more = [f"{plural(hidden, 'weaker attack')} left out"] if hidden else []
    return TextTable(title, columns, rows, "\n".join([*more, _scale_caption(comparison)]))


def resistance_table(comparison: Comparison) -> TextTable:
    """Return how much each attack is held up, one line each, and the worst case over all of them."""
    bound = comparison.selection.profile.eval.attacker_source_bound_db
    columns: dict[str, Justify] = {
        "attack": "left",
        "resistance": "right",
        "resistance\n(log steps)": "right",
        f"recovery, source\nwithin {bound:g} dB": "right",
        "RFD": "right",
    }
    names = ("resistance", "resistance_log", "bounded_recovery", "rfd")
    rows = [
        [attack.label, *(number_text(comparison.numbers[f"{attack.label}.{name}"]) for name in names)]
        for attack in comparison.attacks
    ]
    worst = ("worst_resistance", "worst_resistance_log", "worst_bounded_recovery", "worst_rfd")
    rows.append(["worst case", *(number_text(comparison.numbers[name]) for name in worst)])
    caption = (
        "resistance = 1 - area under recovery, defended \u00f7 undefended: 0 no effect, 1 no recovery\n"
        "RFD = mean of (undefended - defended) \u00f7 undefended PSNR over the attack, signed"
    )
    return TextTable("How much each attack is held up", columns, rows, caption)


def numbers_table(comparison: Comparison, names: Collection[str] | None = None) -> TextTable:
    """Return the numbers that all attacks come down to, or those called ``names``, as gates take them."""
    columns: dict[str, Justify] = {"name": "left", "value": "right", "unit": "left"}
    rows = [
        [number.name, number_text(number), number.missing or _unit(number)]
        for name, number in overall_numbers(comparison).items()
        if names is None or name in names
    ]
    return TextTable("Over all attacks, as --gate takes them", columns, rows)


def overall_numbers(comparison: Comparison) -> dict[str, Quantity]:
    """Return the numbers on all attacks together, by name."""
    return {name: number for name, number in comparison.numbers.items() if _own(number) and name.startswith(_SUMMARY)}


def key_numbers(comparison: Comparison) -> list[str]:
    """Return the names of the few numbers that tell how the attacker is held up and what that costs."""
    slow_down = f"worst_slow_down_{100 * comparison.threshold:g}"
    held_up = ["worst_bounded_recovery", "worst_resistance", slow_down, f"{slow_down}_scratch"]
    return [*held_up, "source_change_db", "benign_trainability", "defense_seconds"]


def seeds_table(comparison: Comparison) -> TextTable | None:
    """Return the attacks that were run with several seeds; None where there is none."""
    if not comparison.series:
        return None
    share = f"{comparison.threshold:.0%}"
    columns: dict[str, Justify] = {
        "attack": "left",
        "seeds": "right",
        "recovery\nmean": "right",
        "worst seed": "right",
        f"undefended\nmedian to {share}": "right",
        f"defended\nmedian to {share}": "right",
        "log-rank p": "right",
    }
    rows = [_series_row(series, comparison.threshold) for series in comparison.series]
    caption = "medians over seeds of the steps to recover (Kaplan-Meier); > means that it was not reached"
    return TextTable("Attacks with several seeds", columns, rows, caption)


def _series_row(series: SeedSeries, threshold: float) -> list[str]:
    median = next(median for median in series.medians if median.threshold == threshold)
    return [
        f"{series.method} ({series.budget} steps)",
        str(len(series.seeds)),
        format_number(series.mean),
        f"{format_number(series.worst)} (seed {series.worst_seed})",
        count_text(median.undefended),
        count_text(median.defended),
        format_number(median.p_value, 3),
    ]


def search_line(comparison: Comparison) -> str:
    """Return how the best recovery grew with the number of trials, naming those that raised it."""
    before, raised = -math.inf, []
    for number, trial in enumerate(comparison.search, start=1):
        if trial.recovery > before:
            raised.append(f"{trial.recovery:.0%} {trial.attack} (trial {number})")
            before = trial.recovery
    return f"best attack so far over {len(comparison.search)} trials: {', '.join(raised) or 'n/a'}"


def _overview_row(attack: JudgedAttack, threshold: float) -> list[str]:
    count = next(count for count in attack.statistics.counts if count.threshold == threshold)
    return [
        attack.label,
        str(attack.verdict.state),
        format_share(attack.peak),
        *(format_number(best_quality(attack.pair, subject)) for subject in SUBJECTS),
        *(count_text(count.counts[subject].value) for subject in SUBJECTS),
    ]


def _worst_case(comparison: Comparison) -> list[str]:
    """Return the last line: all attacks as one attacker, who takes the best of each side."""
    counts = [
        next(count.counts for count in attack.statistics.counts if count.threshold == comparison.threshold)
        for attack in comparison.attacks
    ]
    return [
        "worst case",
        str(comparison.verdict.state),
        format_share(comparison.worst.peak),
        format_number(comparison.scale.ceiling_db),
        format_number(max((best_quality(attack.pair, DEFENDED) for attack in comparison.attacks), key=nan_last)),
        *(count_text(_fewest([count[subject].value for count in counts])) for subject in SUBJECTS),
    ]


def _fewest(counts: Sequence[Count | None]) -> Count | None:
    """Return the fewest steps that any attack takes; where none gets there, the largest budget that was tried."""
    known = [count for count in counts if count is not None]
    reached = [count for count in known if not isinstance(count, Censored)]
    tried = [count for count in known if isinstance(count, Censored)]
    return min(reached) if reached else max(tried, key=lambda count: count.at, default=None)


def _scale_caption(comparison: Comparison) -> str:
    scale = comparison.scale
    groups = len(set(scale.groups))
    sample = f"{plural(len(scale.groups), 'object')} in {plural(groups, 'group')}"
    interval = f"{CONFIDENCE:.0%} bootstrap intervals over groups" if groups > 1 else "one group, so no intervals"
    return (
        f"recovery 0% = white image, {format_number(scale.floor_db)} dB; 100% = best undefended, "
        f"{format_number(scale.ceiling_db)} dB ({scale.method}, step {scale.step})\n{sample}; {interval}"
    )


def number_text(number: Quantity) -> str:
    """Return ``value [low, high]`` of one number, ``n/a`` where it is missing."""
    return count_interval_text(CountInterval(number.value, number.low, number.high, 0))


def _own(number: Quantity) -> bool:
    return "." not in number.name


def _unit(number: Quantity) -> str:
    return metric_label(number.unit) if number.unit not in ("ratio", "1") else ""
