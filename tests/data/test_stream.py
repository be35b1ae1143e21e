"""Rows of single samples: every object first once, then with other views, and shorter rows inside longer ones."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.data import stream
from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.data.batch import ViewDraw
from geotrap_cli.data.stream import SampleStream
from geotrap_cli.errors import UsageError


@dataclass
class Rings:
    """Objects o0, o1, ... with so many rings of eight views."""

    counts: list[int]

    @property
    def records(self) -> tuple[ObjectRecord, ...]:
        return tuple(ObjectRecord(f"o{n}", f"o{n}", "thing", 8) for n in range(len(self.counts)))

    def rings(self, id: str) -> list[list[int]]:
        return [[ring, ring + 1, ring + 2, ring + 3] for ring in range(self.counts[int(id[1:])])]


@pytest.fixture(scope="module", autouse=True)
def draws_instead_of_pictures() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "assemble", lambda _, draws, *__: draws[0])
        yield


def row(counts: list[int], seed: int = 0, views: int = 0) -> list[ViewDraw]:
    data: Any = Rings(counts)
    made = SampleStream(data, [f"o{n}" for n in range(len(counts))], 16, 16, views, seed)
    samples: list[Any] = [made.batch(place) for place in range(len(made))]
    assert [sample.id for sample in samples] == made.ids_at(range(len(made)))
    return samples


COUNTS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(COUNTS, st.integers(0, 100))
def test_every_object_with_every_ring_and_none_twice(counts: list[int], seed: int) -> None:
    samples = row(counts, seed)
    assert len({(sample.id, sample.inputs) for sample in samples}) == len(samples) == sum(counts)


@given(COUNTS, st.integers(0, 100))
def test_no_object_comes_again_before_all_others_came_as_often(counts: list[int], seed: int) -> None:
    seen: Counter[str] = Counter()
    for sample in row(counts, seed):
        others = [seen[f"o{n}"] for n, count in enumerate(counts) if count > seen[sample.id]]
        assert seen[sample.id] <= min(others)
        seen[sample.id] += 1


@given(COUNTS, st.integers(0, 100))
def test_a_sample_depends_on_seed_object_and_turn_alone(counts: list[int], seed: int) -> None:
    alone = {(sample.id, sample.inputs, sample.supervised) for sample in row(counts, seed, views=3)}
    more = {(sample.id, sample.inputs, sample.supervised) for sample in row([*counts, 4, 4], seed, views=3)}
    assert alone <= more


def test_supervised_views_are_drawn_anew_and_never_twice_in_a_sample() -> None:
    samples = row([6], views=3)
    assert len({sample.supervised for sample in samples}) > 1
    assert all(len(set(sample.supervised)) == 3 for sample in samples)


def test_another_seed_gives_other_views() -> None:
    assert row([6, 6, 6], seed=1) != row([6, 6, 6], seed=2)


def test_too_few_views_are_refused() -> None:
    with pytest.raises(UsageError, match="has 8 views, 9 are wanted"):
        row([2], views=9)
