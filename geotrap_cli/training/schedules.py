"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Callable

ScheduleFactor = Callable[[int], float]

#: Share of the run over which ``wsd`` (warm-up, stable, decay) falls to zero at the end.
WSD_DECAY_SHARE = 0.3
#: ``OneCycleLR`` as LGM uses it: start at 1/25 of the peak, end at 1e-4 of the start.
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START * 1e-4


def _constant(_: float) -> float:
    return 1.0


def _linear(progress: float) -> float:
    return 1.0 - progress


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _wsd(progress: float) -> float:
    return min(1.0, (1.0 - progress) / WSD_DECAY_SHARE)


_DECAYS: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "wsd": _wsd,
}


def make_schedule(name: str, steps: int, warmup_steps: int) -> ScheduleFactor:
    """Return the factor by which the base learning rate is multiplied at a zero-based step.

    Args:
        name: ``constant``, ``linear``, ``cosine``, ``wsd`` or ``one_cycle``.
        steps: Length of the run.
        warmup_steps: Steps of the rising part: linear from 0, for ``one_cycle`` a cosine from 1/25.

    Raises:
        KeyError: The name is not one of the above (profiles are checked before).
    """
    if name == "one_cycle":
        return _one_cycle_schedule(steps, warmup_steps)
    decay = _DECAYS[name]

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return decay((step - warmup_steps) / max(1, steps - warmup_steps))

    return factor


def _one_cycle_schedule(steps: int, warmup_steps: int) -> ScheduleFactor:
    """``torch.optim.lr_scheduler.OneCycleLR`` with cosine annealing and ``pct_start = warmup_steps / steps``."""
    top = warmup_steps - 1

    def factor(step: int) -> float:
        if step < top:
            return _between(ONE_CYCLE_START, 1.0, step / top)
        return _between(1.0, ONE_CYCLE_END, (step - top) / max(1, steps - 1 - top))

    return factor


def _between(start: float, end: float, progress: float) -> float:
    """Half a cosine wave from ``start`` to ``end``."""
    return end + (start - end) * _cosine(progress)
