"""The options of ``geotrap analyze-layers``; None where one was not given."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from geotrap_cli.errors import UsageError
from geotrap_cli.options import split_names
from geotrap_cli.sensitivity.request import CAUSAL_STEPS, PROBES, SAMPLES


def _check_width(width: float | None) -> float | None:
    if width is not None and not width > 0:
        raise UsageError(f"--target-ci {width} is no width", hint="use a number above 0, such as 0.1")
    return width


class Mode(str, Enum):
    """What is differentiated."""

    trap = "trap"
    attack = "attack"
    jacobian = "jacobian"


class Reach(str, Enum):
    """Which units are shown."""

    all = "all"
    reached = "reached"
    safe = "safe"


class Action(str, Enum):
    """How a unit is taken out of an attack."""

    freeze = "freeze"
    reset = "reset"
    rollback = "rollback"


def plain(value: Any) -> Any:
    """Return an option's value as the library takes it: enums as text, lists of names split at commas."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, list):
        return split_names(value)
    return value


def _panel(title: str) -> Callable[..., Any]:
    def option(*names: str, **settings: Any) -> Any:
        return typer.Option(*names, rich_help_panel=title, **settings)

    return option


_measure, _table, _choice, _attack = (
    _panel(title) for title in ("What is measured", "What is shown", "Choosing layers", "Worth to an attacker")
)

ModeOption = Annotated[
    Mode | None, _measure("--mode", help="The traps' losses (default), the attacker's, or the Gaussians themselves.")
]
Traps = Annotated[
    list[str] | None, _measure("--traps", metavar="KEY...", help="Traps to measure; none: the profile's.")
]
Samples = Annotated[
    int | None, _measure("--samples", metavar="N", min=1, help=f"Samples of each side: objects [{SAMPLES}].")
]
TargetCi = Annotated[
    float | None,
    _measure(
        "--target-ci",
        metavar="WIDTH",
        callback=_check_width,
        help="Draw more samples until every unit's interval is this narrow: half-width ÷ ratio, such as 0.1.",
    ),
]
Probes = Annotated[
    int | None, _measure("--probes", metavar="N", min=1, help=f"Random vectors of --mode jacobian [{PROBES}].")
]
Sort = Annotated[
    str | None,
    _table(
        "--sort",
        metavar="COLUMN",
        help="geometric_mean (default), unit (order of the network), a loss, or any column of the CSV file.",
    ),
]
Top = Annotated[int | None, _table("--top", metavar="N", min=1, help="Show so many units; none: all.")]
ReachOption = Annotated[
    Reach | None,
    _table("--reach", help="Show units that the LoRA adapter reaches, or that are safe from it; all by default."),
]
Csv = Annotated[Path | None, _table("--csv", metavar="FILE", help="Also write the table of all units as CSV.")]
Select = Annotated[
    int | None,
    _choice("--select", metavar="N", min=1, help="Write the N first units to layers.toml, for a profile to extend."),
]
LoraSafe = Annotated[
    bool | None, _choice("--lora-safe", help="Select only units that the LoRA adapter does not reach.")
]
Causal = Annotated[
    str | None,
    _attack(
        "--causal",
        metavar="top:N|all|UNIT,...",
        help="Attack once as it is and once without each of these units.",
    ),
]
CausalAction = Annotated[
    Action | None,
    _attack("--causal-action", help="The unit gets no update (default), begins anew, or goes back afterwards."),
]
CausalSteps = Annotated[
    int | None,
    _attack(
        "--causal-steps", metavar="N", min=1, help=f"Steps of each attack, the first of the profile [{CAUSAL_STEPS}]."
    ),
]
