"""A bounded memory for decoded images: training reads the same views again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import numpy as np


class ArrayCache:
    """Keeps the most recently used arrays within a number of bytes; safe to share between threads.

    Args:
        capacity: bytes kept at most; an array larger than that is never kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array kept under ``key``, or make and keep it. The array must not be written to."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
                return self._arrays[key]
        array = make()
        with self._lock:
            self._keep(key, array)
        return array

    def _keep(self, key: Hashable, array: np.ndarray) -> None:
        if key in self._arrays or array.nbytes > self.capacity:
            return
        self._arrays[key] = array
        self.size += array.nbytes
        while self.size > self.capacity:
            _, oldest = self._arrays.popitem(last=False)
            self.size -= oldest.nbytes
