"""Single objects with their input views, in turns: a longer row of samples begins with a shorter one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.batch import ViewBatch, ViewDraw, assemble
from geotrap_cli.data.views import RING, view_counts


class SampleStream:
    """First every object once, then every object once more with other input views, until the views are used up.

    A sample is an object with one of its rings of input views. Which ring comes in which turn depends on (seed, object)
    alone, and never comes twice. Supervised views are drawn anew for each sample.

    Args:
        dataset: Where the views come from.
        ids: The objects, in the order in which they are taken.
        input_size: Side of the input images in pixels.
        output_size: Side of the supervised images in pixels.
        supervised_views: Supervised views a sample; none where only the generator's input is needed.
        seed: Another seed gives other views.
        input_views: Input views a sample, the first of its ring.

    Raises:
        UsageError: No objects, an unknown one, or one with too few views.
    """

    def __init__(
        self,
        dataset: ObjectDataset,
        ids: Sequence[str],
        input_size: int,
        output_size: int,
        supervised_views: int,
        seed: int,
        input_views: int = RING,
    ) -> None:
        self.dataset, self.ids = dataset, tuple(ids)
        self.input_size, self.output_size = input_size, output_size
        self.supervised_views, self.seed, self.input_views = supervised_views, seed, input_views
        self._counts = view_counts(dataset, self.ids, supervised_views)

    def __len__(self) -> int:
        return len(self._later) + len(self.ids)

    def batch(self, place: int) -> ViewBatch:
        """Return the sample at ``place``, counted from 0, as a batch of one object."""
        id, turn = self._at(place)
        rings = self.dataset.rings(id)
        name = zlib.crc32(id.encode())
        ring = np.random.default_rng([self.seed, name]).permutation(len(rings))[turn]
        rng = np.random.default_rng([self.seed, name, turn])
        supervised = rng.choice(self._counts[id], self.supervised_views, replace=False)
        draw = ViewDraw(id, tuple(rings[ring])[: self.input_views], tuple(supervised.tolist()))
        return assemble(self.dataset, [draw], self.input_size, self.output_size)

    def ids_at(self, places: Iterable[int]) -> list[str]:
        """Return the object of each sample."""
        return [self._at(place)[0] for place in places]

    def _at(self, place: int) -> tuple[str, int]:
        """The object at ``place`` and how often it came before; the first turn asks no object for its rings."""
        return (self.ids[place], 0) if place < len(self.ids) else self._later[place - len(self.ids)]

    @cached_property
    def _later(self) -> list[tuple[str, int]]:
        turns = {id: len(self.dataset.rings(id)) for id in self.ids}
        return [(id, turn) for turn in range(1, max(turns.values())) for id in self.ids if turn < turns[id]]
