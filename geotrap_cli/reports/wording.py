"""A verdict in plain words: who won and by how much, whether to believe it, and what to do next."""

from __future__ import annotations

import math
from pathlib import Path

from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.evaluation.cells import DEFENDED
from geotrap_cli.evaluation.curves import CountInterval
from geotrap_cli.evaluation.recovery import Censored, Count
from geotrap_cli.evaluation.validity import State
from geotrap_cli.plugins import plugin_keys
from geotrap_cli.reports.comparison import Comparison, Judgement
from geotrap_cli.reports.judgement import DESATURATE, JudgedAttack
from geotrap_cli.reports.quality import best_quality
from geotrap_cli.reports.tables import format_number

_HALF = 0.5


def headline(comparison: Judgement) -> str:
    """Return the verdict in one sentence or two: state, outcome, and the worst attack with its numbers."""
    return f"{comparison.verdict.state}: {outcome(comparison)} {_worst(comparison)}"


def outcome(comparison: Judgement) -> str:
    """Return who won, as a sentence; nobody has where the measurement cannot be believed."""
    share = comparison.worst.peak.value
    if comparison.verdict.state is not State.VALID:
        return "no evidence for the defense."
    if share >= comparison.threshold:
        return "the attacker wins."
    return "the attacker gets part of the way." if share >= _HALF else "the defense withstood what was tested."


def reasons(comparison: Comparison) -> list[str]:
    """Return what stands against believing the verdict, one clause a line; empty for a valid one."""
    lines = [f"{reason.state}: {reason.text}" for reason in comparison.verdict.reasons]
    if comparison.selection.same_weights:
        lines.append("the defended weights are the undefended ones, bit for bit")
    return lines


def other_reasons(comparison: Comparison, attack: JudgedAttack) -> list[str]:
    """Return what stands against believing the numbers of one attack, without what the verdict says already."""
    said = comparison.verdict.reasons if attack is comparison.worst else ()
    return [
        f"{attack.label} is {reason.state}: {reason.text}" for reason in attack.verdict.reasons if reason not in said
    ]


def format_share(share: Interval) -> str:
    """Return a recovery as a percentage, with its interval where there is one."""
    if share.low is None or share.high is None:
        return _percent(share.value)
    return f"{_percent(share.value)} [{_percent(share.low)}, {_percent(share.high)}]"


def count_text(count: Count | None) -> str:
    """Return a count or a ratio of counts; ``>`` before what was not reached."""
    if isinstance(count, Censored):
        return f">{count.at:.3g}" if count.at % 1 else str(count)
    return "n/a" if count is None else f"{count:g}" if isinstance(count, int) else f"{count:.2f}"


def count_interval_text(found: CountInterval) -> str:
    """Return ``value [low, high]`` of a count, or the value alone where there is no interval."""
    text = count_text(found.value)
    if found.low is None or found.high is None:
        return text
    return f"{text} [{count_text(found.low)}, {count_text(found.high)}]"


def plural(count: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def next_command(comparison: Comparison) -> str:
    """Return the command that would tell most about this defense now."""
    state = comparison.verdict.state
    on_run = f"--run {shown(comparison.selection.train_run)}"
    if state is State.SOURCE_BROKEN:
        # A defense that retained nothing cannot be doubled.
        weight = 2 * comparison.selection.profile.retain.weight or 1.0
        return f"geotrap train{_profile(comparison)} --set retain.weight={weight:g}"
    if state is State.ATTACK_WEAK:
        steps = 2 * comparison.worst.pair.defended.steps
        return f"geotrap attack {comparison.worst.pair.defended.key} --set attack.steps={steps} {on_run}"
    missing = attacks_not_run(comparison)
    if missing:
        return f"geotrap attack {missing[0]} {on_run}"
    return f"geotrap attack --seed {comparison.worst.pair.defended.seed + 1} {on_run}"


def attacks_not_run(comparison: Comparison) -> list[str]:
    """Return the keys of the installed attacks that the comparison lacks, the most telling one first."""
    run = {attack.pair.defended.key for attack in comparison.attacks}
    missing = [key for key in plugin_keys("geotrap.attacks") if key not in run]
    return sorted(missing, key=lambda key: key != DESATURATE)


def not_tested_in_short(comparison: Comparison) -> str:
    """Return what the verdict does not cover in a line or two, attacks by their number."""
    missing = attacks_not_run(comparison)
    if not missing:
        return "; ".join(comparison.not_tested)
    _, *rest = comparison.not_tested
    attacks = f"{len(missing)} of {len(plugin_keys('geotrap.attacks'))} attacks, {missing[0]} among them"
    return "; ".join([attacks, *rest])


def shown(path: str | Path) -> Path:
    """Return a path as short as it can be typed from here."""
    here = Path.cwd()
    return Path(path).relative_to(here) if Path(path).is_relative_to(here) else Path(path)


def _worst(comparison: Judgement) -> str:
    worst, scale = comparison.worst, comparison.scale
    count = len(comparison.attacks)
    name = f"{worst.label}, the strongest of {count} attacks," if count > 1 else f"{worst.label}, the only attack run,"
    if math.isnan(worst.peak.value):
        return f"{name} has no recovery that could be computed."
    decibels = (best_quality(worst.pair, DEFENDED), scale.ceiling_db, scale.floor_db)
    reached, ceiling, floor = (format_number(value) for value in decibels)
    share, steps = format_share(worst.peak), worst.pair.defended.steps
    brings = (
        f"recovers {share} after {worst.peak_step} of {steps} steps"
        if worst.peak_step
        else f"adds nothing to the {share} that the defended weights have before it"
    )
    return f"{name} {brings} ({reached} dB; undefended {ceiling} dB, white image {floor} dB)."


def _percent(value: float) -> str:
    # Adding zero takes the sign off a negative value that rounds to it.
    return f"{round(value, 2) + 0.0:.0%}" if math.isfinite(value) else format_number(value)


def _profile(comparison: Comparison) -> str:
    """Return the option that names the profile; nothing where it came with a store and is no file here."""
    path = comparison.selection.profile_path
    return "" if path is None else f" --profile {shown(path)}"
