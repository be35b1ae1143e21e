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


def _one_cycle(progress: float) -> float:
    return ONE_CYCLE_END + (1.0 - ONE_CYCLE_END) * _cosine(progress)


_DECAYS: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "wsd": _wsd,
    "one_cycle": _one_cycle,
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
    decay = _DECAYS[name]

    def factor(step: int) -> float:
        if step < warmup_steps:
            rise = (step + 1) / warmup_steps
            if name == "one_cycle":
                return ONE_CYCLE_START + (1.0 - ONE_CYCLE_START) * (1.0 - _cosine(rise))
            return rise
        return decay((step - warmup_steps) / max(1, steps - warmup_steps))

    return factor
