"""One item ahead, in order, with errors where they belong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from geotrap_cli.data.prefetch import prefetched


def test_items_come_in_order_from_another_thread() -> None:
    threads = list(prefetched(threading.get_ident() * 0 + i for i in range(5)))
    assert threads == [0, 1, 2, 3, 4]
    (maker,) = set(prefetched(threading.get_ident() for _ in range(3)))
    assert maker != threading.get_ident()


def test_the_next_item_is_made_while_the_first_is_in_use() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2

    stream = prefetched(items())
    assert next(stream) == 1
    assert made.wait(timeout=30)
    assert list(stream) == [2]


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("second")

    stream = prefetched(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="second"):
        next(stream)


def test_none_is_an_item_and_nothing_is_nothing() -> None:
    assert list(prefetched([None, None])) == [None, None]
    assert list(prefetched([])) == []


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    stream = prefetched(iter(range(10**9)))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before
