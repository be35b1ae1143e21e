"""Tables that only the page has: health and cost of all attacks side by side, and the controls."""

from __future__ import annotations

from geotrap_cli.evaluation.cells import DEFENDED, REFERENCES, SUBJECTS, UNDEFENDED, Cell
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.judgement import DESATURATE
from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.quality import best_quality
from geotrap_cli.reports.references import MEANING
from geotrap_cli.reports.suite_tables import number_text
from geotrap_cli.reports.tables import format_cell, format_number
from geotrap_cli.reports.usage_text import USAGE_COLUMNS, USAGE_NAMES, usage_cells
from geotrap_cli.reports.wording import count_text, format_share

NOT_RUN = "not run"


def health_table(comparison: Comparison) -> TextTable:
    """Return what each attack looked like from inside, a line for each side."""
    columns: dict[str, Justify] = {"attack": "left", "weights": "left"}
    columns |= dict.fromkeys(("gradients\nexactly zero", "Gaussians\nno loss can move"), "right")
    columns |= dict.fromkeys(("non-finite\nsteps", "loss, start", "loss, end", "loss fell"), "right")
    rows = [
        [attack.label, subject, *_health(attack.pair.cell(subject))]
        for attack in comparison.attacks
        for subject in SUBJECTS
    ]
    caption = "a defense looks good where gradients are zero, or Gaussians stuck that move in undefended weights"
    return TextTable("What each attack looked like from inside", columns, rows, caption)


def cost_table(comparison: Comparison) -> TextTable:
    """Return what each side of each attack cost."""
    share = f"{comparison.threshold:.0%}"
    columns: dict[str, Justify] = {"attack": "left", "weights": "left"}
    columns |= dict.fromkeys(("seconds", f"seconds to {share}", "steps", "objects in\nbatches"), "right")
    columns["trained\nparameters"] = "right"
    columns |= dict.fromkeys(USAGE_COLUMNS, "right")
    rows = [
        [
            label,
            subject,
            f"{cost.seconds:.1f}",
            count_text(cost.seconds_to_recover),
            str(cost.steps),
            format_cell(cost.samples),
            f"{cost.trainable_parameters:,}",
            *usage_cells(cost.usage),
        ]
        for label, sides in comparison.costs.items()
        for subject, cost in sides.items()
        if subject in SUBJECTS
    ]
    defense = comparison.numbers["defense_seconds"]
    told = f"{number_text(defense)} s" if defense.missing is None else f"unknown, {defense.missing}"
    used = comparison.defense_cost.usage
    if used is not None:
        told += "".join(f", {cell} {name}" for name, cell in zip(USAGE_NAMES, usage_cells(used), strict=True))
    return TextTable("What both sides pay", columns, rows, f"training the defense: {told}")


def controls_table(comparison: Comparison) -> TextTable:
    """Return what each control showed; one that was not run says so."""
    columns: dict[str, Justify] = {"control": "left", "what it is": "left", "result": "left"}
    evidence = comparison.worst.evidence
    gain = "n/a" if evidence.undefended_gain is None else f"{evidence.undefended_gain:+.2f}"
    start = comparison.worst.statistics.recovery[DEFENDED][0]
    rows = [
        [
            UNDEFENDED,
            f"the attack {comparison.worst.label} without a defense",
            f"{format_number(best_quality(comparison.worst.pair, UNDEFENDED))} dB, a gain of {gain} dB",
        ],
        ["before", "the defended weights before any attack", f"recovery {format_share(start)}"],
        *[_reference(comparison, name) for name in REFERENCES],
        ["benign", "the same fine-tuning on benign objects, defended ÷ undefended", _benign(comparison)],
        [DESATURATE, "an attack that first undoes saturation, where a defense may hide", _desaturate(comparison)],
    ]
    return TextTable("What each control showed", columns, rows)


def _health(cell: Cell) -> list[str]:
    losses = [format_number(cell.first_loss, 4), format_number(cell.last_loss, 4)]
    health = cell.health
    if health is None:
        return ["n/a", "n/a", "n/a", *losses, "n/a"]
    shares = ["n/a" if each is None else f"{each:.1%}" for each in (health.zero_gradient_share, health.saturated_share)]
    return [*shares, format_cell(health.nonfinite), *losses, format_cell(health.loss_decreased)]


def _reference(comparison: Comparison, name: str) -> list[str]:
    found = next((result for result in comparison.controls if result.subject == name), None)
    told = f"the same attacks on {MEANING[name]}"
    if found is None:
        return [name, told, NOT_RUN]
    return [name, told, f"recovery {format_share(found.recovery)} by {found.attack}, {format_number(found.best)} dB"]


def _benign(comparison: Comparison) -> str:
    number = comparison.numbers["benign_trainability"]
    return NOT_RUN if number.missing else f"{number_text(number)} (0.95 or more is wanted)"


def _desaturate(comparison: Comparison) -> str:
    peaks = [attack for attack in comparison.attacks if attack.pair.defended.key == DESATURATE]
    return f"recovery {format_share(peaks[0].peak)}" if peaks else NOT_RUN
