"""The bounded cache."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from geotrap_cli.data.cache import ArrayCache


def counted(calls: list[str], name: str, size: int = 10) -> Callable[[], np.ndarray]:
    def make() -> np.ndarray:
        calls.append(name)
        return np.zeros(size, np.uint8)

    return make


def test_an_array_is_made_once() -> None:
    cache, calls = ArrayCache(100), list[str]()
    first = cache.get("a", counted(calls, "a"))
    assert cache.get("a", counted(calls, "a")) is first
    assert calls == ["a"]


def test_the_least_recently_used_array_goes_first() -> None:
    cache, calls = ArrayCache(25), list[str]()
    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get(name, counted(calls, name))
        assert cache.size <= 25
    assert calls == ["a", "b", "c", "b"]


def test_what_does_not_fit_is_not_kept_and_displaces_nothing() -> None:
    cache, calls = ArrayCache(25), list[str]()
    cache.get("a", counted(calls, "a"))
    cache.get("large", counted(calls, "large", 26))
    cache.get("large", counted(calls, "large", 26))
    cache.get("a", counted(calls, "a"))
    assert calls == ["a", "large", "large"]
    assert cache.size == 10
