from __future__ import annotations

from collections import Counter

from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.sensitivity.samples import draw_objects

RECORDS = [
    ObjectRecord(f"{category}/{group}{variant}", f"{category}/{group}", category, 24)
    for category, groups in (("mug", "abc"), ("hat", "abcdefgh"))
    for group in groups
    for variant in range(3)
]
IDS = [record.id for record in RECORDS]


def test_categories_and_groups_take_turns() -> None:
    drawn = draw_objects(RECORDS, IDS, seed=1)[:6]
    group = {record.id: record.group for record in RECORDS}
    assert Counter(name.partition("/")[0] for name in drawn) == {"mug": 3, "hat": 3}
    assert len({group[name] for name in drawn}) == 6


def test_every_object_once() -> None:
    assert sorted(draw_objects(RECORDS, IDS, seed=1)) == sorted(IDS)


def test_only_the_given_objects() -> None:
    assert set(draw_objects(RECORDS, IDS[:5], seed=1)) == set(IDS[:5])


def test_the_seed_decides() -> None:
    assert draw_objects(RECORDS, IDS, seed=1) == draw_objects(RECORDS, IDS, seed=1)
    assert draw_objects(RECORDS, IDS, seed=2) != draw_objects(RECORDS, IDS, seed=1)
