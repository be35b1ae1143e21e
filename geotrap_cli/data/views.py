"""Drawing views: random ones for training, fixed novel ones for evaluation. Nothing here has a state to restore."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.batch import ViewBatch, ViewDraw, assemble
from geotrap_cli.errors import UsageError

__all__ = ["Part", "ViewBatch", "ViewSampler", "evaluation_batches"]

Item = TypeVar("Item")

# Keeps the stream that shuffles objects apart from the streams that draw views.
_SHUFFLE = 1
RING = 4
"""Views of a ring."""


@dataclass(frozen=True)
class Part:
    """One of ``count`` equal, consecutive parts of a batch, which several processes share."""

    index: int
    count: int

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this part of ``items``, whose number is a multiple of ``count``."""
        size = len(items) // self.count
        return items[self.index * size : (self.index + 1) * size]


WHOLE = Part(0, 1)


class ViewSampler:
    """Training batches as a function of (seed, step): a resumed run sees what an uninterrupted one would have seen.

    Objects come in shuffled epochs, so that each appears equally often. Input views are the first of a ring of four
    that begins anywhere; supervised views are random and may repeat input views, as in LGM's training.

    Args:
        dataset: where the views come from.
        ids: the objects to draw from.
        input_size: side of the input images in pixels.
        output_size: side of the supervised images in pixels.
        supervised_views: supervised views an object; none where only the generator's input is needed.
        seed: another seed gives other draws.
        input_views: input views an object, one to four.
        surface: also give the surface points of the input views.
        surface_size: side of the surface maps; the input size where None.

    Raises:
        UsageError: no objects, an unknown one, or one with too few views.
    """

    def __init__(
        self,
        dataset: ObjectDataset,
        ids: Sequence[str],
        input_size: int,
        output_size: int,
        supervised_views: int,
        seed: int,
        *,
        input_views: int = RING,
        surface: bool = False,
        surface_size: int | None = None,
    ) -> None:
        self.dataset, self.ids = dataset, tuple(ids)
        self.input_size, self.output_size = input_size, output_size
        self.supervised_views, self.seed, self.input_views = supervised_views, seed, _check_inputs(input_views)
        self.surface_size = (surface_size or input_size) if surface else None
        self._counts = view_counts(dataset, self.ids, supervised_views)

    def batch(self, step: int, batch_size: int, part: Part = WHOLE) -> ViewBatch:
        """Return the batch of ``step``, counted from 0, or a part of it.

        Every part is drawn as the whole is, so that together the parts are the batch; only a part's own views are read.
        """
        rng = np.random.default_rng([self.seed, step])
        positions = range(step * batch_size, (step + 1) * batch_size)
        draws = [self._draw(self._object_at(position), rng) for position in positions]
        return assemble(self.dataset, part.of(draws), self.input_size, self.output_size, self.surface_size)

    def drawn(self, steps: int, batch_size: int) -> list[str]:
        """Return the objects that the first ``steps`` batches hold, each once."""
        count = min(steps * batch_size, len(self.ids))
        return sorted({self._object_at(position) for position in range(count)})

    def _object_at(self, position: int) -> str:
        """The object at ``position`` of the endless row of shuffled epochs."""
        epoch, place = divmod(position, len(self.ids))
        order = np.random.default_rng([self.seed, epoch, _SHUFFLE]).permutation(len(self.ids))
        return self.ids[order[place]]

    def _draw(self, id: str, rng: np.random.Generator) -> ViewDraw:
        rings = self.dataset.rings(id)
        supervised = rng.choice(self._counts[id], self.supervised_views, replace=False)
        return ViewDraw(id, tuple(rings[rng.integers(len(rings))])[: self.input_views], tuple(supervised.tolist()))


def evaluation_batches(
    dataset: ObjectDataset,
    ids: Sequence[str],
    input_size: int,
    output_size: int,
    views: int,
    batch_size: int,
    seed: int,
    input_views: int = RING,
) -> Iterator[ViewBatch]:
    """Yield every object of ``ids`` once, in order, with ``views`` novel views.

    Input ring and novel views depend on (seed, object id) alone, so that two models, or one model before and after an
    attack, are measured on the same pictures whatever the batch size. No novel view is one of the ring, of which the
    first ``input_views`` go in: generators with fewer are measured on the same novel views.

    Raises:
        UsageError: no objects, an unknown one, or one with too few views.
    """
    counts = view_counts(dataset, ids, views)
    draws = [_evaluation_draw(dataset, id, counts[id], views, seed, _check_inputs(input_views)) for id in ids]
    for start in range(0, len(draws), batch_size):
        yield assemble(dataset, draws[start : start + batch_size], input_size, output_size)


def _evaluation_draw(dataset: ObjectDataset, id: str, count: int, views: int, seed: int, input_views: int) -> ViewDraw:
    rng = np.random.default_rng([seed, zlib.crc32(id.encode())])
    rings = dataset.rings(id)
    inputs = tuple(rings[rng.integers(len(rings))])
    novel = np.setdiff1d(np.arange(count), inputs)
    if views > len(novel):
        what = f"object {id!r} has {len(novel)} novel views, {views} are wanted"
        raise UsageError(what, hint="Lower the number of evaluation views")
    return ViewDraw(id, inputs[:input_views], tuple(np.sort(rng.choice(novel, views, replace=False)).tolist()))


def _check_inputs(count: int) -> int:
    if not 1 <= count <= RING:
        raise UsageError(f"a generator of {count} input views cannot be fed", hint=f"Data sets give 1 to {RING} views")
    return count


def view_counts(dataset: ObjectDataset, ids: Sequence[str], wanted: int) -> dict[str, int]:
    """Stored views of each object, none of them fewer than ``wanted``."""
    if not ids:
        raise UsageError("no objects to draw views of")
    if wanted < 0:
        raise UsageError(f"{wanted} views cannot be drawn", hint="Ask for none or more")
    known = {record.id: record.views for record in dataset.records}
    for id in ids:
        if id not in known:
            raise UsageError(f"the data set has no object {id!r}")
        if known[id] < wanted:
            raise UsageError(f"object {id!r} has {known[id]} views, {wanted} are wanted", hint="Ask for fewer views")
    return {id: known[id] for id in ids}
