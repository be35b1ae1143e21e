"""The charts of the page: recovery over attack steps on two axes, and the worst case over trials."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.page.charts import Axis, Chart, Line


@dataclass(frozen=True)
class RecoveryCharts:
    """The recovery of one attack, over steps and over their logarithm."""

    attack: str
    linear: Markup
    log: Markup


def recovery_charts(comparison: Comparison, attack: JudgedAttack) -> RecoveryCharts:
    """Draw both sides of one attack, and the weights of those controls that were run."""
    lines = [_line(attack, subject) for subject in attack.statistics.recovery]
    guides = {"white image": 0.0, "best undefended": 1.0, "won": comparison.threshold}

    def draw(axis: Axis) -> Markup:
        return Chart(f"recovery under {attack.label}, {axis} steps", lines, guides, axis).svg()

    return RecoveryCharts(attack.label, draw("linear"), draw("log"))


def search_chart(comparison: Comparison) -> Markup:
    """Draw the best recovery against the number of trials."""
    trials = list(range(1, len(comparison.search) + 1))
    best = Line("defended", trials, [trial.best_so_far for trial in comparison.search])
    guides = {"white image": 0.0, "won": comparison.threshold}
    return Chart("best attack so far over trials", [best], guides, across="trials", stairs=True).svg()


def _line(attack: JudgedAttack, subject: str) -> Line:
    points = attack.statistics.recovery[subject]
    values = [point.value for point in points]
    ends = ([getattr(point, end) for point in points] for end in ("low", "high"))
    return Line(subject, attack.pair.own_steps(subject), values, *ends)
