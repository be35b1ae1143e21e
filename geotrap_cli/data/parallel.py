"""One function over many items in several processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_all(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with the result of ``function``, as results come.

    Args:
        function: What to do; it and the items must be picklable.
        items: What to do it to.
        workers: Number of processes (default: one a core); 1 works in this one.
    """
    count = min(workers or os.cpu_count() or 1, len(items))
    if count <= 1:
        for item in items:
            yield item, function(item)
        return
    # Spawned, not forked: the caller may hold threads (torch, numba) that a fork would leave broken.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_ignore_interrupts)
    try:
        jobs = {pool.submit(function, item): item for item in items}
        for job in as_completed(jobs):
            yield jobs[job], job.result()
    finally:
        # After an error or an interrupt nobody needs the rest.
        pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the parent alone says what happened."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
