"""From an analysis to the ``[layers]`` table of a profile."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import tomli_w

from geotrap_cli.errors import UsageError
from geotrap_cli.sensitivity.gradients import UnitParameters
from geotrap_cli.sensitivity.scores import UnitScore, value_of


def candidates(
    units: UnitParameters, reached: frozenset[str], lora_safe: bool, frozen: Iterable[str]
) -> frozenset[str]:
    """Units that may be chosen: all but the ``frozen`` and, if ``lora_safe``, no adapter reaches."""
    barred = (reached if lora_safe else frozenset()) | frozenset(frozen)
    return frozenset(units.names) - barred


def check_selection(count: int, allowed: frozenset[str]) -> None:
    """Check that ``count`` units can be chosen, before anything is computed.

    Raises:
        UsageError: There are not so many.
    """
    if count > len(allowed):
        raise UsageError(
            f"--select {count}: only {len(allowed)} units may be chosen",
            hint="Choose fewer, leave out --lora-safe, or set layers.freeze_head=false",
        )


def select_units(scores: Sequence[UnitScore], count: int, allowed: frozenset[str], column: str) -> list[str]:
    """The first ``count`` units of ``scores`` (in rank order) that are ``allowed`` and have a value in ``column``."""
    ranked = [score.row.unit for score in scores if not math.isnan(value_of(score, column))]
    return [unit for unit in ranked if unit in allowed][:count]


def layers_fragment(units: Sequence[str], run: str, reason: str) -> str:
    """A profile of nothing but ``[layers]``, for another one to extend.

    Args:
        units: Exact unit names.
        run: Name of the analysis.
        reason: How the units were chosen, one line.
    """
    table = tomli_w.dumps({"layers": {"units": list(units)}})
    return f'# {reason}\n# Analysis: {run}\n# Use: extends = ["pos_opacity", "layers.toml"]\n\n{table}'
