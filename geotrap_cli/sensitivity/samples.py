"""Which objects are measured, and the gradient norms of single samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.data.stream import SampleStream
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.sensitivity.gradients import Array, UnitParameters, gradient_norms
from geotrap_cli.sensitivity.measures import Measure


@dataclass(frozen=True)
class SampleNorms:
    """Gradient norms of single samples.

    Attributes:
        groups: The group of each sample's object.
        norms: Per loss the norm of each sample and unit, [samples, U].
    """

    groups: tuple[str, ...]
    norms: dict[str, Array]

    def __len__(self) -> int:
        return len(self.groups)

    def first(self, count: int) -> SampleNorms:
        """Return the first ``count`` samples."""
        return SampleNorms(self.groups[:count], {name: rows[:count] for name, rows in self.norms.items()})

    def followed_by(self, other: SampleNorms) -> SampleNorms:
        """Return these samples and then those of ``other``."""
        norms = {name: np.concatenate([rows, other.norms[name]]) for name, rows in self.norms.items()}
        return SampleNorms(self.groups + other.groups, norms)


def no_samples(losses: Iterable[str], units: int) -> SampleNorms:
    """Return what is known before the first sample."""
    return SampleNorms((), {name: np.empty((0, units)) for name in losses})


def draw_objects(records: Iterable[ObjectRecord], ids: Sequence[str], seed: int) -> list[str]:
    """Order ``ids`` at random such that every beginning is even over categories and, inside each, over groups."""
    by_id = {record.id: record for record in records}
    shuffled = [by_id[ids[index]] for index in np.random.default_rng(seed).permutation(len(ids))]
    apart = _in_turns(shuffled, lambda record: record.group)
    return [record.id for record in _in_turns(apart, lambda record: record.category)]


def _in_turns(records: list[ObjectRecord], key: Callable[[ObjectRecord], str]) -> list[ObjectRecord]:
    """First one record of each key, then the second of each, and so on; stable."""
    seen: dict[str, int] = defaultdict(int)
    turns = []
    for record in records:
        turns.append(seen[key(record)])
        seen[key(record)] += 1
    return [records[index] for index in np.argsort(turns, kind="stable")]


def measure_samples(
    model: GaussianGenerator,
    units: UnitParameters,
    stream: SampleStream,
    places: range,
    measure: Measure,
    groups: Mapping[str, str],
    on_sample: Callable[[], None] = lambda: None,
) -> SampleNorms:
    """Measure the samples at ``places``, each alone in its batch.

    The norm of a mean gradient would be smaller than the mean of the norms, the more so the less the objects agree, so
    that it mixes size with agreement; hence one object a batch, in float32, where cancellation is not hidden by
    rounding.

    Args:
        model: The generator.
        units: What to take norms of.
        stream: The samples of one side.
        places: Which of them, at least one.
        measure: What is differentiated.
        groups: The group of each object.
        on_sample: Called after each.

    Raises:
        NonFiniteError: A gradient is NaN or infinite.
    """
    rows = []
    for place in places:
        batch = stream.batch(place).to(model.device)
        scalars = measure(model.forward_gaussians(batch.images), batch, place)
        rows.append(gradient_norms(scalars, units, batch.ids[0]))
        on_sample()
    norms = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return SampleNorms(tuple(groups[id] for id in stream.ids_at(places)), norms)
