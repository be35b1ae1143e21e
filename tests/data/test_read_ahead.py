"""Reading ahead: the same batches, read before they are asked for."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from geotrap_cli.data.procedural.dataset import ProceduralConfig, ProceduralDataset
from geotrap_cli.data.read_ahead import ReadAhead
from geotrap_cli.data.views import Part, ViewSampler
from geotrap_cli.errors import UsageError

Objects = tuple[ProceduralDataset, list[str]]
OPTIONS: dict[str, Any] = {"input_size": 16, "output_size": 16, "supervised_views": 2, "seed": 5}


@pytest.fixture
def objects() -> Objects:
    dataset = ProceduralDataset(ProceduralConfig(objects_per_category=2, size=16))
    return dataset, [record.id for record in dataset.records if record.category in ("crate", "dice")]


class Watched(ReadAhead):
    """Notes which batches are read, and refuses some."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.read: list[int] = []
        self.done = threading.Condition()
        super().__init__(*arguments, **options)

    def _read(self, key: Any) -> Any:
        with self.done:
            self.read.append(key[0])
            self.done.notify_all()
        if key[0] == 3:
            raise UsageError("a broken file")
        return super()._read(key)

    def wait_for(self, steps: list[int]) -> bool:
        with self.done:
            return self.done.wait_for(lambda: self.read == steps, timeout=20)


def test_batches_are_those_of_the_sampler(objects: Objects) -> None:
    plain, ahead = ViewSampler(*objects, **OPTIONS), ReadAhead(*objects, ahead=2, **OPTIONS)
    for step in (0, 1, 2, 7, 1):
        for part in (Part(0, 1), Part(1, 2)):
            expected, found = plain.batch(step, 2, part), ahead.batch(step, 2, part)
            assert found.ids == expected.ids
            assert torch.equal(found.images, expected.images) and torch.equal(found.rgb, expected.rgb)


def test_the_next_batches_are_read_unasked_and_each_once(objects: Objects) -> None:
    ahead = Watched(*objects, ahead=2, **OPTIONS)
    ahead.batch(0, 1)
    assert ahead.wait_for([0, 1, 2])
    ahead.batch(10, 1)
    assert ahead.wait_for([0, 1, 2, 10, 11, 12])
    ahead.batch(11, 1)
    assert ahead.wait_for([0, 1, 2, 10, 11, 12, 13])


def test_what_goes_wrong_is_raised_at_its_own_step(objects: Objects) -> None:
    ahead = Watched(*objects, ahead=3, **OPTIONS)
    for step in range(3):
        ahead.batch(step, 1)
    with pytest.raises(UsageError, match="a broken file"):
        ahead.batch(3, 1)
