"""Every number that a comparison comes down to, by name, with its unit, interval and the cells it was computed from.

Names are stable: gates, JSON and CSV use them. Numbers on all attacks have a plain name such as ``worst_recovery``;
those of one attack carry its label before a dot, such as ``lora.recovery``. What was not measured is there, too, and
says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.evaluation.cells import BENIGN, DEFENDED, REFERENCES, SCRATCH, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.curves import CountInterval
from geotrap_cli.evaluation.evaluate import HEADLINE
from geotrap_cli.evaluation.recovery import Censored, Count
from geotrap_cli.reports.costs import DefenseCost
from geotrap_cli.reports.judgement import JudgedAttack
from geotrap_cli.reports.pairing import Split
from geotrap_cli.reports.references import MEANING, peak_recovery
from geotrap_cli.reports.scale import Scale
from geotrap_cli.reports.tables import ComparisonRow

_NO_SCRATCH = "training from scratch was not run"
_NO_BENIGN = "no attack was run on benign objects"


@dataclass(frozen=True)
class Quantity:
    """One number.

    Attributes:
        name: What it is called.
        unit: ``ratio``, ``dB``, ``steps``, ``s``, ``1`` or the unit of a metric.
        value: The estimate; a lower bound where it is censored, None where it was not measured or is undefined.
        low: Lower end of its interval, None where there is none.
        high: Upper end.
        cells: Files of the cells it was computed from.
        missing: Why there is no value.
    """

    name: str
    unit: str
    value: Count | None
    low: Count | None
    high: Count | None
    cells: tuple[str, ...]
    missing: str | None = None


def quantities(
    attacks: Sequence[JudgedAttack], rows: Sequence[ComparisonRow], scale: Scale, defense: DefenseCost
) -> dict[str, Quantity]:
    """Return all numbers by name: those on all attacks first, then those of each attack.

    Args:
        attacks: The attacks, the one that recovers most first.
        rows: Every metric of every attack at every checkpoint.
        scale: Floor and ceiling.
        defense: What the defense cost.
    """
    own = {attack.label: list(_of_attack(attack, rows)) for attack in attacks}
    found = [*_overall(attacks, own, rows, scale, defense)]
    found += [_renamed(number, f"{label}.{number.name}") for label, numbers in own.items() for number in numbers]
    return {number.name: number for number in found}


def _of_attack(attack: JudgedAttack, rows: Sequence[ComparisonRow]) -> Iterator[Quantity]:
    numbers, both = attack.statistics, tuple(attack.pair.file(subject) for subject in SUBJECTS)
    yield _number("recovery", "ratio", attack.peak, both, "no recovery is defined")
    yield _bounded(attack, both)
    for axis, resistance in numbers.resistance.items():
        suffix = "" if axis == "linear" else f"_{axis}"
        yield _number(f"resistance{suffix}", "ratio", resistance, both, "the undefended attack recovers nothing")
        for subject, area in numbers.areas[axis].items():
            cells = (attack.pair.file(subject), *both)
            yield _number(f"aurc{suffix}_{subject}", "ratio", area, cells, "no recovery is defined")
    yield _number("rfd", "ratio", numbers.gaps[HEADLINE].mean, both, "the attack was evaluated once")
    for metric, gap in numbers.gaps.items():
        for part in ("mean", "peak", "final"):
            name = f"sgr_{part}" if metric == "ssim" else f"sgr_{part}_{metric.replace(' ', '')}"
            yield _number(name, "ratio", getattr(gap, part), both, "the attack was evaluated once")
    yield from _counts(attack, both)
    for name in REFERENCES:
        found = peak_recovery(attack, name)
        yield _number(f"recovery_{name}", "ratio", found, (attack.pair.file(name), *both), f"{MEANING[name]}: not run")
    benign = tuple(attack.pair.file(name) for name in BENIGN.values())
    yield _number("benign_trainability", "ratio", numbers.benign, benign, _NO_BENIGN)
    yield _metric_change("source_change_after_db", "source", HEADLINE, attack, rows, attack.pair.steps[-1])
    seconds = float(attack.pair.defended.seconds)
    yield Quantity("seconds", "s", seconds, None, None, both[1:])


def _bounded(attack: JudgedAttack, cells: tuple[str, ...]) -> Quantity:
    bounded = attack.statistics.bounded
    why = f"no evaluation keeps within {bounded.bound:g} dB" if bounded.measured else "source was not measured"
    return _number("bounded_recovery", "ratio", bounded.recovery, cells, why)


def _counts(attack: JudgedAttack, cells: tuple[str, ...]) -> Iterator[Quantity]:
    scratch = attack.statistics.scratch
    timed = {SCRATCH: cells if scratch is None else (scratch.file(SCRATCH), *cells), UNDEFENDED: cells}
    for count in attack.statistics.counts:
        share = f"{100 * count.threshold:g}"
        for subject, steps in count.counts.items():
            at = (attack.pair.file(subject), *cells)
            yield _count(f"steps_to_{share}_{subject}", "steps", steps, at, "the run diverged")
        for subject in (UNDEFENDED, SCRATCH):
            name = f"slow_down_{share}" + ("" if subject == UNDEFENDED else f"_{subject}")
            measured = count.slow_down.get(subject)
            why = f"{subject} weights do not get there" if measured else _NO_SCRATCH
            yield _count(name, "ratio", measured, timed[subject], why)


def _overall(
    attacks: Sequence[JudgedAttack],
    own: Mapping[str, Sequence[Quantity]],
    rows: Sequence[ComparisonRow],
    scale: Scale,
    defense: DefenseCost,
) -> Iterator[Quantity]:
    worst = attacks[0]

    def each(name: str) -> list[Quantity]:
        return [number for numbers in own.values() for number in numbers if number.name == name]

    for name, (called, largest) in _WORST.items():
        yield _extreme(called, each(name), largest)
    yield _mean("mean_recovery", each("recovery"))
    for name in REFERENCES:
        yield _extreme(f"worst_recovery_{name}", each(f"recovery_{name}"), largest=True)
    for share in (f"{100 * count.threshold:g}" for count in worst.statistics.counts):
        for name in (f"slow_down_{share}", f"slow_down_{share}_{SCRATCH}"):
            yield _extreme(f"worst_{name}", each(name), largest=False)
    best = tuple(attack.pair.file(UNDEFENDED) for attack in attacks if attack.pair is scale.pair)
    yield _number("ceiling_db", "dB", Interval(scale.ceiling_db, None, None, 0), best, "the ceiling is not finite")
    yield _number("floor_db", "dB", Interval(scale.floor_db, None, None, 0), best, "the floor is not finite")
    for metric in dict.fromkeys(row.metric for row in rows):
        suffix = "db" if metric == HEADLINE else metric
        yield _metric_change(f"source_change_{suffix}", "source", metric, worst, rows, 0)
        yield _metric_change(f"target_change_{suffix}", "target", metric, worst, rows, 0)
    yield _plain("defense_seconds", "s", defense.seconds, (), defense.missing)
    seconds = sum(attack.pair.defended.seconds for attack in attacks)
    yield _plain("attack_seconds", "s", seconds, [attack.pair.file(DEFENDED) for attack in attacks])
    yield _plain("trials", "1", len(attacks), [attack.pair.file(DEFENDED) for attack in attacks])


_WORST = {
    "recovery": ("worst_recovery", True),
    "bounded_recovery": ("worst_bounded_recovery", True),
    "resistance": ("worst_resistance", False),
    "resistance_log": ("worst_resistance_log", False),
    "rfd": ("worst_rfd", False),
    "benign_trainability": ("benign_trainability", False),
}
"""What is worst for a defense over all attacks: the number of each attack, its name then, and whether more is worse."""


def _extreme(name: str, found: Sequence[Quantity], largest: bool) -> Quantity:
    """Return the worst of the numbers that are defined; its interval takes the choice of the attack as given."""
    defined = [number for number in found if number.value is not None]
    if not defined:
        return _missing(name, found[0].unit, found[0].missing or "not measured", _cells(found))
    chosen = (max if largest else min)(defined, key=_at_least)
    return _renamed(chosen, name)


def _at_least(number: Quantity) -> tuple[float, bool]:
    """Order by what is known: of a number and a bound at the same place the number is the smaller."""
    value = number.value
    assert value is not None, "only numbers that are defined are ordered"
    return (value.at, True) if isinstance(value, Censored) else (value, False)


def _mean(name: str, shares: Sequence[Quantity]) -> Quantity:
    values = [number.value for number in shares if isinstance(number.value, (int, float))]
    mean = sum(values) / len(values) if values else None
    return _plain(name, "ratio", mean, _cells(shares), "no recovery is defined")


def _metric_change(
    name: str, split: Split, metric: str, attack: JudgedAttack, rows: Sequence[ComparisonRow], step: int
) -> Quantity:
    """Return defended less undefended on one split at one step."""
    cells = tuple(attack.pair.file(subject) for subject in SUBJECTS)
    unit = "dB" if metric.endswith("psnr") else metric
    key = (attack.label, split, metric, step)
    row = next((row for row in rows if (row.attack, row.split, row.metric, row.step) == key), None)
    return _number(name, unit, row.values.difference if row else None, cells, f"{split} was not measured")


def _number(name: str, unit: str, found: Interval | None, cells: Iterable[str], missing: str) -> Quantity:
    if found is None or math.isnan(found.value):
        return _missing(name, unit, missing, cells)
    return Quantity(name, unit, found.value, found.low, found.high, tuple(dict.fromkeys(cells)))


def _count(name: str, unit: str, found: CountInterval | None, cells: Iterable[str], missing: str) -> Quantity:
    if found is None or found.value is None:
        return _missing(name, unit, missing, cells)
    return Quantity(name, unit, found.value, found.low, found.high, tuple(dict.fromkeys(cells)))


def _plain(name: str, unit: str, value: float | None, cells: Iterable[str], missing: str | None = None) -> Quantity:
    return Quantity(name, unit, value, None, None, tuple(dict.fromkeys(cells)), missing if value is None else None)


def _missing(name: str, unit: str, why: str, cells: Iterable[str]) -> Quantity:
    return Quantity(name, unit, None, None, None, tuple(dict.fromkeys(cells)), why)


def _renamed(number: Quantity, name: str) -> Quantity:
    return Quantity(name, number.unit, number.value, number.low, number.high, number.cells, number.missing)


def _cells(found: Iterable[Quantity]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cell for number in found for cell in number.cells))
