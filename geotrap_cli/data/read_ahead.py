"""Batches that are read while those before them are computed with."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.data.views import WHOLE, Part, ViewSampler

_Key = tuple[int, int, Part]


class ReadAhead(ViewSampler):
    """A sampler that reads the next batches in a thread of its own; it gives the very batches of `ViewSampler`.

    A batch is a function of its step, so that reading ahead needs no more than asking for the steps to come. What goes
    wrong there is raised when the batch is asked for.

    Args:
        dataset: As all arguments but the last two: see `ViewSampler`.
        ids: See there.
        ahead: Batches that are read beforehand.
        pinned: Whether they lie in pinned memory, from which a GPU copies without waiting.
        **options: See there.
    """

    def __init__(
        self, dataset: ObjectDataset, ids: Sequence[str], *, ahead: int, pinned: bool = False, **options: Any
    ) -> None:
        super().__init__(dataset, ids, **options)
        self._ahead, self._pinned = ahead, pinned
        # One thread: batches are read in the order in which they are wanted.
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._pending: dict[_Key, Future[ViewBatch]] = {}

    def batch(self, step: int, batch_size: int, part: Part = WHOLE) -> ViewBatch:
        """Return the batch of ``step``, or a part of it, and have those of the next steps read."""
        wanted = [(step + later, batch_size, part) for later in range(self._ahead + 1)]
        for key in self._pending.keys() - set(wanted):
            self._pending.pop(key).cancel()
        for key in wanted:
            if key not in self._pending:
                self._pending[key] = self._reader.submit(self._read, key)
        return self._pending[wanted[0]].result()

    def _read(self, key: _Key) -> ViewBatch:
        batch = super().batch(*key)
        return batch.pin_memory() if self._pinned else batch
