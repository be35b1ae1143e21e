"""Which objects are measured, and their gradient norms one object at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.data.views import ViewSampler
from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.sensitivity.gradients import Array, UnitParameters, gradient_norms
from geotrap_cli.sensitivity.measures import Measure


@dataclass(frozen=True)
class SampleNorms:
    """Gradient norms of single objects.

    Attributes:
        ids: The objects.
        groups: The group of each.
        norms: Per loss the norm of each object and unit, [objects, U].
    """

    ids: tuple[str, ...]
    groups: tuple[str, ...]
    norms: dict[str, Array]


def draw_objects(records: Iterable[ObjectRecord], ids: Sequence[str], count: int, seed: int) -> list[str]:
    """Draw at most ``count`` of ``ids``, evenly over categories and, inside each, over groups."""
    by_id = {record.id: record for record in records}
    shuffled = [by_id[ids[index]] for index in np.random.default_rng(seed).permutation(len(ids))]
    apart = _in_turns(shuffled, lambda record: record.group)
    return [record.id for record in _in_turns(apart, lambda record: record.category)[:count]]


def _in_turns(records: list[ObjectRecord], key: Callable[[ObjectRecord], str]) -> list[ObjectRecord]:
    """First one record of each key, then the second of each, and so on; stable."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for record in records:
        turns.append(seen[key(record)])
        seen[key(record)] += 1
    return [records[index] for index in np.argsort(turns, kind="stable")]


def measure_objects(
    model: LGM,
    units: UnitParameters,
    sampler: ViewSampler,
    measure: Measure,
    groups: dict[str, str],
    on_object: Callable[[], None] = lambda: None,
) -> SampleNorms:
    """Measure every object of ``sampler`` once, alone in its batch.

    The norm of a mean gradient would be smaller than the mean of the norms, the more so the less the objects agree, so
    that it mixes size with agreement; hence one object a batch, in float32, where cancellation is not hidden by
    rounding.

    Raises:
        NonFiniteError: A gradient is NaN or infinite.
    """
    ids, rows = [], []
    for place in range(len(sampler.ids)):
        batch = sampler.batch(place, 1).to(model.device)
        scalars = measure(activate(model(batch.images)), batch, place)
        rows.append(gradient_norms(scalars, units, batch.ids[0]))
        ids += batch.ids
        on_object()
    norms = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return SampleNorms(tuple(ids), tuple(groups[name] for name in ids), norms)
