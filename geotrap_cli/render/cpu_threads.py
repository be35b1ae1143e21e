"""A thread pool for kernels that release the GIL, sized like torch's and safe across fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Task = TypeVar("Task")


class _Pools:
    """One pool for each size asked for; threads start on demand and live as long as the process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._lock = threading.Lock()
        self._by_size: dict[int, ThreadPoolExecutor] = {}

    def of_size(self, size: int) -> ThreadPoolExecutor:
        with self._lock:
            if size not in self._by_size:
                self._by_size[size] = ThreadPoolExecutor(size, thread_name_prefix="geotrap-render")
            return self._by_size[size]


_pools = _Pools()
# A forked child inherits the pools' queues but not their threads: it would wait forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.reset)


def for_each(function: Callable[[Task], None], tasks: Iterable[Task]) -> None:
    """Call `function` on every task, on as many threads as torch uses, and raise the first error.

    Tasks must write to disjoint memory: their order is not defined.
    """
    pending = list(tasks)
    workers = min(torch.get_num_threads(), len(pending))
    if workers <= 1:
        for task in pending:
            function(task)
        return
    for _ in _pools.of_size(torch.get_num_threads()).map(function, pending):
        pass
