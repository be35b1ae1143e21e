"""Several traps in one loss, per object.

Every method is minimised, and none ever pushes a trap the wrong way: its derivative with respect to each trap's loss is
at least zero for all traps that it accepts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from rapidfuzz import process
from torch import Tensor

from geotrap_cli.errors import UsageError


@dataclass(frozen=True)
class Method:
    """One way to combine losses.

    Attributes:
        formula: Takes the weighted losses [K, B] and the options; gives [B].
        options: Option names and defaults, all positive.
        needs_bound: Accepts only traps whose loss is never above zero.
        least: How many traps it takes at least.
    """

    formula: Callable[..., Tensor]
    options: Mapping[str, float]
    needs_bound: bool = False
    least: int = 1


def _sum(losses: Tensor) -> Tensor:
    return losses.sum(dim=0)


def _mean(losses: Tensor) -> Tensor:
    return losses.mean(dim=0)


def _max(losses: Tensor) -> Tensor:
    return losses.amax(dim=0)


def _logsumexp(losses: Tensor, temperature: float) -> Tensor:
    return temperature * torch.logsumexp(losses / temperature, dim=0)


def _product(losses: Tensor) -> Tensor:
    return 1.0 - (1.0 - losses).prod(dim=0)


def _pairwise(losses: Tensor, temperature: float) -> Tensor:
    factors = 1.0 - losses / temperature
    pairs = [factors[i] * factors[j] - 1.0 for i, j in combinations(range(len(factors)), 2)]
    return -torch.stack(pairs).mean(dim=0)


METHODS: dict[str, Method] = {
    "sum": Method(_sum, {}),
    "mean": Method(_mean, {}),
    "max": Method(_max, {}),
    "logsumexp": Method(_logsumexp, {"temperature": 0.25}),
    "product": Method(_product, {}, needs_bound=True),
    "pairwise": Method(_pairwise, {"temperature": 1.0}, needs_bound=True, least=2),
}
"""Every method by name; ``docs/method.md`` gives the formulas."""


def aggregate(
    losses: Mapping[str, Tensor],
    method: str,
    weights: Mapping[str, float],
    upper_bounds: Mapping[str, float | None],
    **options: float,
) -> Tensor:
    """Combine trap losses into one value per object, to be minimised.

    Args:
        losses: Trap key to loss [B].
        method: A name in :data:`METHODS`.
        weights: Trap key to a factor on its loss, above zero; a trap that is not named has factor one.
        upper_bounds: Trap key to the trap's ``upper_bound``; a trap that is not named has none.
        **options: ``temperature``, above zero, of logsumexp (default 0.25) and of pairwise (default 1).

    Returns:
        Tensor [B].

    Raises:
        UsageError: As :func:`check_aggregation`, or the losses differ in shape.
    """
    check_aggregation(losses, method, weights, upper_bounds, **options)
    shapes = {key: tuple(loss.shape) for key, loss in losses.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise UsageError(
            f"trap losses must all have one shape [B], got {shapes}", hint="Give one loss per object and trap"
        )
    chosen = METHODS[method]
    weighted = torch.stack([weights.get(key, 1.0) * loss for key, loss in losses.items()])
    return chosen.formula(weighted, **{**chosen.options, **options})


def check_aggregation(
    keys: Iterable[str],
    method: str,
    weights: Mapping[str, float],
    upper_bounds: Mapping[str, float | None],
    **options: float,
) -> None:
    """Check a choice of traps and method without computing anything, e.g. when a profile is read.

    Args:
        keys: The traps.
        method: A name in :data:`METHODS`.
        weights: As for :func:`aggregate`.
        upper_bounds: As for :func:`aggregate`.
        **options: As for :func:`aggregate`.

    Raises:
        UsageError: An unknown method, option or trap (with the closest name); a weight or option that is not a positive
            number; too few traps; or a trap without an upper bound of at most zero in ``product`` or ``pairwise``,
            where a loss above one would turn the push on the other traps around.
    """
    traps = list(keys)
    _refuse_unknown("aggregation method", [method], METHODS)
    chosen = METHODS[method]
    _refuse_unknown(f"option of aggregation {method}", options, chosen.options)
    _refuse_unknown("trap in the aggregation weights", weights, traps)
    for name, value in [*weights.items(), *options.items()]:
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"aggregation: {name} = {value} is not above zero", hint="Give a positive number")
    if len(traps) < chosen.least:
        raise UsageError(
            f"aggregation {method} needs at least {chosen.least} trap(s), got {len(traps)}",
            hint="Add a trap, or use 'sum'" if traps else "Add a trap",
        )
    if chosen.needs_bound:
        _refuse_unbounded(method, traps, upper_bounds)


def _refuse_unbounded(method: str, traps: Iterable[str], upper_bounds: Mapping[str, float | None]) -> None:
    for key in traps:
        bound = upper_bounds.get(key)
        if bound is None or not bound <= 0:
            raise UsageError(
                f"aggregation {method} needs losses that are never above zero; trap {key} as configured can be above",
                hint="Use 'sum', 'mean', 'max' or 'logsumexp', or another mode of that trap",
            )


def _refuse_unknown(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    choices = sorted(known)
    for name in names:
        if name in choices:
            continue
        closest = process.extractOne(name, choices)
        known_names = f"Known: {', '.join(choices)}" if choices else "None is known"
        raise UsageError(
            f"unknown {what}: '{name}'",
            hint=f"Did you mean '{closest[0]}'? {known_names}" if closest else known_names,
        )
