"""The table of the controls: the defended weights beside those that they are compared with."""

from __future__ import annotations

from geotrap_cli.reports.layout import Justify, TextTable
from geotrap_cli.reports.references import MEANING, ReferenceResult
from geotrap_cli.reports.tables import format_number
from geotrap_cli.reports.wording import format_share


def control_table(results: list[ReferenceResult]) -> TextTable | None:
    """Return the defended weights beside the reference weights; None where no such control was run."""
    if len(results) < 2:
        return None
    columns: dict[str, Justify] = {
        "weights": "left",
        "what they are": "left",
        "worst recovery": "left",
        "attack": "left",
        "attacks": "right",
        "best\n(dB)": "right",
        "source before\n(dB)": "right",
    }
    rows = [
        [
            result.subject,
            MEANING[result.subject],
            format_share(result.recovery),
            result.attack,
            str(result.attacks),
            format_number(result.best),
            format_number(result.source),
        ]
        for result in results
    ]
    caption = "a trap is worth what it keeps from the attacker beyond distillation, distance and training from scratch"
    return TextTable("Controls: the same attacks on other weights", columns, rows, caption)
