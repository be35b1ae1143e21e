"""What the attacker has: its own objects, held-out ones where it validates, and never the undefended weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geotrap_cli.attacks import Attack, AttackContext
from geotrap_cli.data.held_out import split_validation
from geotrap_cli.errors import UsageError
from geotrap_cli.training.attack_context import attack_context, attack_loss, open_attack_data


class Validating(Attack):
    key = "validating"
    uses_validation = True


class OneObject(Attack):
    key = "one"

    def target_objects(self, ids: Sequence[str], seed: int) -> Sequence[str]:
        return ids[:1]


class Plain(Attack):
    key = "plain"
    perceptual = False


def context_of(bench: Any, attack: Attack) -> AttackContext:
    return attack_context(bench, open_attack_data(bench, attack), 4, attack_loss(bench, attack))


@pytest.fixture
def bench(open_mini: Callable[..., Any]) -> Any:
    return open_mini("loss.perceptual=dssim").bench


class TestSplit:
    @given(st.lists(st.integers(0, 6), min_size=2, max_size=30), st.integers(0, 5))
    def test_whole_groups_disjoint_complete_and_repeatable(self, labels: list[int], seed: int) -> None:
        groups = {f"o{index}": f"g{label}" for index, label in enumerate(labels)}
        ids = list(groups)
        if len(set(labels)) < 2:
            with pytest.raises(UsageError, match="one group"):
                split_validation(ids, groups, seed)
            return
        train, held = split_validation(ids, groups, seed)
        assert sorted([*train, *held]) == sorted(ids)
        assert not {groups[id] for id in train} & {groups[id] for id in held}
        assert len({groups[id] for id in held}) == max(1, round(0.2 * len(set(labels))))
        assert (train, held) == split_validation(ids, groups, seed)


class TestData:
    def test_batches_come_from_the_attackers_objects(self, bench: Any) -> None:
        context, splits = context_of(bench, Attack()), bench.splits
        seen: dict[str, set[str]] = {name: set() for name in ("target", "source", "benign")}
        for step in range(6):
            for name, ids in seen.items():
                ids.update(getattr(context, name)(step, 3).ids)
        assert seen["target"] == set(splits.attack_target)
        assert seen["source"] <= set(splits.source_train)
        assert seen["benign"] <= set(splits.benign)

    def test_the_attack_chooses_among_its_objects(self, bench: Any) -> None:
        batch = context_of(bench, OneObject()).target(0, 3)
        assert set(batch.ids) == {bench.splits.attack_target[0]}

    def test_held_out_objects_are_the_attackers_own_and_never_trained_on(self, bench: Any) -> None:
        context = context_of(bench, Validating())
        held = [id for batch in context.validation() for id in batch.ids]
        assert held
        assert set(held) < set(bench.splits.attack_target)
        trained = {id for step in range(8) for id in context.target(step, 2).ids}
        assert trained == set(bench.splits.attack_target) - set(held)
        first, again = (torch.cat([batch.rgb for batch in context.validation()]) for _ in range(2))
        assert torch.equal(first, again)

    def test_nothing_is_held_out_without_asking(self, bench: Any) -> None:
        with pytest.raises(UsageError, match="held out no objects"):
            list(context_of(bench, Attack()).validation())

    def test_missing_benign_objects_are_an_error_when_asked_for(self, open_mini: Callable[..., Any]) -> None:
        bench = open_mini("data.benign=[]").bench
        with pytest.raises(UsageError, match="benign objects, and there are none"):
            context_of(bench, Attack()).benign(0, 1)

    def test_the_attack_may_leave_the_perceptual_term_out(self, bench: Any) -> None:
        assert attack_loss(bench, Attack()).perceptual is not None
        assert attack_loss(bench, Plain()).perceptual is None

    def test_no_weights_are_within_reach(self, bench: Any) -> None:
        """Walk everything that a context refers to, closures included: there is no generator among it."""
        waiting: list[Any] = [getattr(context_of(bench, Attack()), field.name) for field in fields(AttackContext)]
        seen: set[int] = set()
        while waiting:
            value = waiting.pop()
            if id(value) in seen:
                continue
            seen.add(id(value))
            assert not (isinstance(value, nn.Module) and list(value.parameters())), type(value)
            waiting += [cell.cell_contents for cell in getattr(value, "__closure__", None) or ()]
            waiting += vars(value).values() if hasattr(value, "__dict__") and not callable(value) else ()
            waiting += value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        assert len(seen) > 20
