"""Two data sets as one: an attacker may have objects that the defender has never seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from geotrap_cli.data.base import ObjectDataset, PosedViews

PREFIX = "attack:"
"""Begins the ids of the second data set: both may call an object ``mug/0001``."""


class JoinedDataset:
    """The objects of ``own`` and those of ``other``, the latter under ids with :data:`PREFIX`.

    Groups keep their names, so that one model in both data sets is one group.
    """

    def __init__(self, own: ObjectDataset, other: ObjectDataset) -> None:
        self.own, self.other = own, other
        theirs = tuple(replace(record, id=PREFIX + record.id) for record in other.records)
        self.records = (*own.records, *theirs)

    def rings(self, id: str) -> list[list[int]]:
        """Groups of four input views of an object."""
        dataset, name = self._owner(id)
        return dataset.rings(name)

    def views(self, id: str, indices: Sequence[int], size: int) -> PosedViews:
        """Views of an object; see the data set that it is from."""
        dataset, name = self._owner(id)
        return dataset.views(name, indices, size)

    def prepare(
        self,
        ids: Sequence[str] | None = None,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Let each data set that renders or checks at first use do so now."""
        chosen = [record.id for record in self.records] if ids is None else list(ids)
        for dataset in (self.own, self.other):
            names = [name for owner, name in map(self._owner, chosen) if owner is dataset]
            prepare = getattr(dataset, "prepare", None)
            if prepare is not None and names:
                prepare(names, workers, progress)

    def fingerprint(self) -> str:
        """Hash of the content of both."""
        both = f"{self.own.fingerprint()}\0{self.other.fingerprint()}"
        return hashlib.blake2b(both.encode(), digest_size=16).hexdigest()

    def _owner(self, id: str) -> tuple[ObjectDataset, str]:
        """The data set that ``id`` is from, and its name there."""
        return (self.other, id.removeprefix(PREFIX)) if id.startswith(PREFIX) else (self.own, id)
