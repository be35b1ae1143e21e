"""Building the next batch while the current one trains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetched(items: Iterable[T]) -> Iterator[T]:
    """Yield ``items`` in order, each made on one background thread while its predecessor is in use.

    At most one item is ahead. What making an item raises is raised when its turn comes.
    """
    iterator = iter(items)
    end = object()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as executor:
        ahead = executor.submit(next, iterator, end)
        while (item := ahead.result()) is not end:
            ahead = executor.submit(next, iterator, end)
            yield item  # type: ignore[misc]
