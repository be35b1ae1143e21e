"""What a defense draws beside the batches of its steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.robust.streams import Stream


@pytest.fixture
def context(open_mini: Callable[..., Any]) -> DefenseContext:
    opened = open_mini("train.batch_size=2")
    return DefenseContext(opened.bench, opened.model, copy.deepcopy(opened.model), {}, None)


def test_draws_of_one_stream_are_of_the_objects_that_are_named_each_time(context: DefenseContext) -> None:
    every = context.bench.splits.defense_target
    first, second = every[:2], every[2:4]
    for ids in (first, second, first):
        assert set(context.target_draw(0, Stream.ATTACKER_TARGETS, ids).ids) == set(ids)
    drawn = {id for draw in range(len(every)) for id in context.target_draw(draw, Stream.ATTACKER_TARGETS).ids}
    assert drawn == set(every)
    assert set(context.source_draw(0, Stream.ATTACKER_TARGETS).ids) <= set(context.bench.splits.source_train)


def test_a_selection_of_no_objects_is_refused(context: DefenseContext) -> None:
    with pytest.raises(UsageError, match="no objects"):
        context.target_draw(0, Stream.ATTACKER_TARGETS, ())
