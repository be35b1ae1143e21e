"""Whether an attack run may be read as evidence at all, as states with a fixed order of precedence.

A low recovery proves nothing when the attack is weak, the model is broken for everybody, or gradients are masked.
A measurement that is missing makes the verdict ``NOT_RUN`` and is named: nothing unmeasured counts as safe.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """The verdict states, in their order of precedence."""

    NOT_RUN = "NOT_RUN"
    DIVERGED = "DIVERGED"
    ATTACK_WEAK = "ATTACK_WEAK"
    SOURCE_BROKEN = "SOURCE_BROKEN"
    MASKED = "MASKED"
    VALID = "VALID"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class AttackHealth:
    """What the attack on the defended weights looked like from inside; None where it was not recorded."""

    zero_gradient_share: float | None
    """Share of trainable parameters' gradient entries that are exactly zero, in [0, 1]."""
    saturated_share: float | None
    """Share of Gaussians that no rendering loss can move (culled, or outside the clamp of positions), in [0, 1].

    A generator with a Gaussian for every pixel keeps most of them invisible, because most pixels show background. So a
    verdict rests on `excess_saturation`, not on the share itself.
    """
    nonfinite: int | None
    """Number of steps with a NaN or infinite loss or gradient."""
    loss_decreased: bool | None
    """Whether the attack's own training loss ended below its start."""


def excess_saturation(defended: float | None, undefended: float | None) -> float | None:
    """Return the share of the Gaussians that move in the undefended model but are stuck in the defended one.

    ``(d - u) / (1 - u)``, at least 0; None when either share was not measured, 0 when nothing moved to begin with.
    """
    if defended is None or undefended is None:
        return None
    free = 1 - undefended
    return max(0.0, (defended - undefended) / free) if free > 0 else 0.0


@dataclass(frozen=True)
class Evidence:
    """The measurements a verdict rests on, in dB of foreground PSNR; None where there is no measurement."""

    ceiling: float | None
    """Best quality of the undefended weights on held-out target objects over the attack."""
    floor: float | None
    """Quality of a white image on the same views."""
    undefended_gain: float | None
    """Ceiling minus the undefended quality before the attack."""
    defended_quality: float | None
    """Best quality of the defended weights over the same attack."""
    source_loss: float | None
    """Mean loss of quality on held-out source objects that the defense costs before any attack (positive is worse)."""
    health: AttackHealth | None
    """Health of the attack on the defended weights, with the saturated share in excess of the undefended ones."""
    desaturate_run: bool = False
    """Whether the de-saturating attack was run."""
    desaturate_recovered: bool | None = None
    """Whether it recovered target quality; None when not measured."""
    desaturate_zero_gradient_share: float | None = None
    """Share of its own gradients that are exactly zero: an attack without gradients has not de-saturated anything."""
    undefended_quality: float | None = None
    """Best quality that this attack reaches on the undefended weights; None: it is the one that sets the ceiling."""
    scratch_quality: float | None = None
    """Best quality of the same attack from random weights; None when that control was not run."""


@dataclass(frozen=True)
class Limits:
    """Where the states begin."""

    min_range_db: float = 3.0
    min_gain_db: float = 2.0
    ceiling_share: float = 0.9
    source_tolerance_db: float = 1.0
    zero_gradient_share: float = 0.5
    saturated_share: float = 0.5


@dataclass(frozen=True)
class Reason:
    """One state that applies and why, as a clause with its numbers."""

    state: State
    text: str


@dataclass(frozen=True)
class Verdict:
    """The state of highest precedence, every reason in that order, and what was not tested."""

    state: State
    reasons: tuple[Reason, ...]
    not_tested: tuple[str, ...]

    @property
    def states(self) -> tuple[State, ...]:
        """All states that apply, each once, in order of precedence."""
        return tuple(dict.fromkeys(reason.state for reason in self.reasons)) or (State.VALID,)


def judge(evidence: Evidence | None, limits: Limits | None = None) -> Verdict:
    """Return the verdict on an attack run; None stands for a run that did not take place.

    Args:
        evidence: The measurements.
        limits: Where the states begin; by default as documented in `Limits`.
    """
    if evidence is None:
        return Verdict(State.NOT_RUN, (Reason(State.NOT_RUN, "no attack was run"),), ("every attack",))
    limits = limits or Limits()
    found = [
        *_missing(evidence),
        *_diverged(evidence),
        *_attack_weak(evidence, limits),
        *_source_broken(evidence, limits),
        *_masked(evidence, limits),
    ]
    order = list(State)
    reasons = tuple(sorted(found, key=lambda reason: order.index(reason.state)))
    return Verdict(reasons[0].state if reasons else State.VALID, reasons, tuple(_not_tested(evidence)))


_NUMBERS = {
    "ceiling": "the ceiling",
    "floor": "the floor",
    "undefended_gain": "the gain of the undefended attack",
    "defended_quality": "the quality of the defended weights under attack",
    "source_loss": "the source quality",
}
_HEALTH = {
    "zero_gradient_share": "the share of zero gradients",
    "saturated_share": "the share of saturated Gaussians",
    "nonfinite": "the number of non-finite steps",
    "loss_decreased": "the course of the attack's loss",
}


def _missing(evidence: Evidence) -> Iterator[Reason]:
    names = [name for key, name in _NUMBERS.items() if getattr(evidence, key) is None]
    if evidence.health is None:
        names.append("the health of the attack")
    else:
        names += [name for key, name in _HEALTH.items() if getattr(evidence.health, key) is None]
    for name in names:
        yield Reason(State.NOT_RUN, f"{name} was not measured")


def _diverged(evidence: Evidence) -> Iterator[Reason]:
    for key, name in (_NUMBERS | {"scratch_quality": "the quality of the scratch control"}).items():
        if _is_nan(getattr(evidence, key)):
            yield Reason(State.DIVERGED, f"{name} is not a number")
    for key, name in _HEALTH.items():
        if _is_nan(getattr(evidence.health, key, None)):
            yield Reason(State.DIVERGED, f"{name} is not a number")
    if evidence.health is not None and evidence.health.nonfinite:
        yield Reason(State.DIVERGED, f"{evidence.health.nonfinite} attack steps had a non-finite loss or gradient")


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _attack_weak(evidence: Evidence, limits: Limits) -> Iterator[Reason]:
    ceiling, gain, scratch = evidence.ceiling, evidence.undefended_gain, evidence.scratch_quality
    if ceiling is not None and evidence.floor is not None and ceiling - evidence.floor < limits.min_range_db:
        span = f"ends {ceiling - evidence.floor:.2f} dB above a white image"
        yield Reason(State.ATTACK_WEAK, f"the undefended attack {span} ({limits.min_range_db:g} dB needed)")
    share = _share_of_ceiling(evidence)
    if share is not None and share < limits.ceiling_share:
        text = f"another attack does better on the undefended weights: this one reaches {share:.0%} of the ceiling"
        yield Reason(State.ATTACK_WEAK, f"{text} ({limits.ceiling_share:.0%} needed)")
    if gain is not None and gain < limits.min_gain_db:
        text = f"the undefended attack gains {gain:.2f} dB ({limits.min_gain_db:g} dB needed)"
        yield Reason(State.ATTACK_WEAK, text)
    if ceiling is not None and scratch is not None and scratch >= ceiling:
        yield Reason(State.ATTACK_WEAK, "training from scratch does as well as the undefended weights")


def _share_of_ceiling(evidence: Evidence) -> float | None:
    ceiling, floor, reached = evidence.ceiling, evidence.floor, evidence.undefended_quality
    if ceiling is None or floor is None or reached is None or not ceiling > floor:
        return None
    return (reached - floor) / (ceiling - floor)


def _source_broken(evidence: Evidence, limits: Limits) -> Iterator[Reason]:
    if evidence.source_loss is not None and evidence.source_loss > limits.source_tolerance_db:
        text = f"source quality drops by {evidence.source_loss:.2f} dB ({limits.source_tolerance_db:g} dB tolerated)"
        yield Reason(State.SOURCE_BROKEN, text)


def _masked(evidence: Evidence, limits: Limits) -> Iterator[Reason]:
    flags = _health_flags(evidence.health, limits)
    outcome = _desaturation(evidence, limits)
    if flags and outcome is not None:
        yield Reason(State.MASKED, f"{' and '.join(flags)}, and {outcome}")


def _desaturation(evidence: Evidence, limits: Limits) -> str | None:
    """Return why the de-saturating attack does not clear the defense; None where it was tried and failed."""
    if not evidence.desaturate_run:
        return "the de-saturating attack was not run"
    if evidence.desaturate_recovered is None:
        return "the outcome of the de-saturating attack was not measured"
    if evidence.desaturate_recovered:
        return "the de-saturating attack recovered"
    dead = evidence.desaturate_zero_gradient_share
    if dead is not None and dead > limits.zero_gradient_share:
        return f"{dead:.0%} of the de-saturating attack's own gradients are exactly zero"
    return None


def _health_flags(health: AttackHealth | None, limits: Limits) -> list[str]:
    if health is None:
        return []
    flags = []
    if health.zero_gradient_share is not None and health.zero_gradient_share > limits.zero_gradient_share:
        flags.append(f"{health.zero_gradient_share:.0%} of the attack's gradients are exactly zero")
    if health.saturated_share is not None and health.saturated_share > limits.saturated_share:
        flags.append(f"{health.saturated_share:.0%} of the Gaussians that could move are stuck")
    if health.loss_decreased is False:
        flags.append("the attack's loss did not decrease")
    return flags


def _not_tested(evidence: Evidence) -> Iterator[str]:
    if evidence.scratch_quality is None:
        yield "training from scratch (control)"
    if not evidence.desaturate_run:
        yield "the de-saturating attack"
