"""Recovery and verdicts of pairs of cells with known curves."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.bootstrap import Resampling
from geotrap_cli.evaluation.cells import Cell, write_cell
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.evaluation.validity import AttackHealth, State
from geotrap_cli.profile.schema import EvalTable
from geotrap_cli.reports.judgement import JudgedAttack, judge_attacks, suite_verdict, worst_case
from geotrap_cli.reports.pairing import AttackPair, comparable, read_pair
from geotrap_cli.reports.scale import Scale

STRONG, RESISTING = (18.0, 21.0, 23.0, 24.0, 24.5), (14.0, 15.0, 16.0, 16.5, 17.0)
RESAMPLING = Resampling(seed=0, resamples=50)
NO_CELL = Cell("lora", "defended", 1, 0, [], None, 0.0, 0, None, None)
ANY_PAIR = AttackPair(NO_CELL, NO_CELL, Path("run"))


def pair_of(cells: list[Cell]) -> AttackPair:
    return AttackPair(cells[0], cells[1], Path("run"))


def judge_one(cells: list[Cell], **limits: Any) -> JudgedAttack:
    (attack,) = judge_attacks([pair_of(cells)], EvalTable(**limits), RESAMPLING)[1]
    return attack


def with_health(cells: list[Cell], index: int, **changes: Any) -> list[Cell]:
    health = cells[index].health
    assert health is not None
    cells[index] = dataclasses.replace(cells[index], health=dataclasses.replace(health, **changes))
    return cells


def test_undefended_weights_in_the_defended_slot_recover_everything(make_pair: Any) -> None:
    attack = judge_one(make_pair(STRONG, STRONG))
    assert (attack.peak.value, attack.peak.low, attack.peak.high) == (1.0, 1.0, 1.0)
    assert attack.statistics.recovery["defended"] == attack.statistics.recovery["undefended"]
    numbers = attack.statistics
    assert all(count.slow_down["undefended"].value == 1 for count in numbers.counts)
    for axis in ("linear", "log"):
        assert numbers.areas[axis]["defended"] == numbers.areas[axis]["undefended"]
        assert numbers.resistance[axis].value == pytest.approx(0.0, abs=1e-12)
    assert all(gap.mean.value == gap.peak.value == gap.final.value == 0 for gap in numbers.gaps.values())


def test_recovery_is_the_share_between_white_image_and_best_undefended(make_pair: Any) -> None:
    attack = judge_one(make_pair(STRONG, RESISTING))
    assert [point.value for point in attack.statistics.recovery["defended"]] == pytest.approx(
        [-1 / 9.5, 0.0, 1 / 9.5, 1.5 / 9.5, 2 / 9.5], abs=1e-9
    )
    assert attack.peak.low is not None and attack.peak.high is not None
    assert attack.peak.low < attack.peak.value < attack.peak.high


def test_what_is_not_reached_is_censored_at_the_budget(make_pair: Any) -> None:
    attack = judge_one(make_pair(STRONG, RESISTING))
    counts = attack.statistics.counts
    assert {count.counts["defended"].value for count in counts} == {Censored(100)}
    assert [count.counts["undefended"].value for count in counts] == [25, 50, 75, 100]


def test_a_blank_model_is_not_called_valid(make_pair: Any) -> None:
    """A model that draws nothing, on target and source alike, recovers nothing: it is broken, not safe."""
    blank = make_pair(STRONG, [15.0] * 5, source=22.0)
    blank[1] = dataclasses.replace(blank[1], evaluations=make_pair(STRONG, [15.0] * 5, source=15.0)[1].evaluations)
    dead = with_health(blank, 1, zero_gradient_share=1.0, loss_decreased=False)
    attack = judge_one(dead)
    assert attack.peak.value == pytest.approx(0.0)
    assert attack.verdict.state is State.SOURCE_BROKEN
    assert attack.verdict.states == (State.SOURCE_BROKEN, State.MASKED)


def test_dead_gradients_mask_unless_the_desaturating_attack_failed_too(make_pair: Any) -> None:
    dead = with_health(make_pair(STRONG, RESISTING), 1, zero_gradient_share=0.9)
    assert judge_one(dead).verdict.state is State.MASKED
    for curve, state in ((RESISTING, State.VALID), (STRONG, State.MASKED)):
        pairs = [pair_of(dead), pair_of(make_pair(STRONG, curve, "desaturate"))]
        assert judge_attacks(pairs, EvalTable(), RESAMPLING)[1][0].verdict.state is state


def test_an_attack_that_does_nothing_to_undefended_weights_is_weak(make_pair: Any) -> None:
    attack = judge_one(make_pair((22.0, 22.5), (15.0, 15.0)))
    assert attack.verdict.state is State.ATTACK_WEAK
    strong = pair_of(make_pair(STRONG, RESISTING, "full"))
    judged = judge_attacks([pair_of(make_pair((22.0, 22.5), (15.0, 15.0))), strong], EvalTable(), RESAMPLING)[1]
    assert [attack.verdict.state for attack in judged] == [State.ATTACK_WEAK, State.VALID]


def test_source_tolerance_comes_from_the_profile(make_pair: Any) -> None:
    cells = make_pair(STRONG, RESISTING)
    cells[1] = make_pair(STRONG, RESISTING, source=20.5)[1]
    assert judge_one(cells).verdict.state is State.SOURCE_BROKEN
    assert judge_one(cells, source_tolerance_db=2.0).verdict.state is State.VALID


@pytest.mark.parametrize(
    ("sources", "state"),
    [
        ((20.5, 22.0), State.SOURCE_BROKEN),
        ((22.0, 20.5), State.SOURCE_BROKEN),
        ((math.nan, 22.0), State.DIVERGED),
        ((22.0, 22.0), State.VALID),
    ],
)
def test_the_seed_that_loses_most_on_source_decides(make_pair: Any, sources: tuple[float, float], state: State) -> None:
    pairs = []
    for seed, (source, curve) in enumerate(zip(sources, (RESISTING, STRONG), strict=True)):
        cells = make_pair(STRONG, curve, seed=seed)
        cells[1] = make_pair(STRONG, curve, seed=seed, source=source)[1]
        pairs.append(pair_of(cells))
    assert suite_verdict(judge_attacks(pairs, EvalTable(), RESAMPLING)[1], EvalTable()).state is state


@pytest.mark.parametrize("missing", ["source", "health"])
def test_what_was_not_measured_is_not_run(make_pair: Any, missing: str) -> None:
    attack = judge_one(make_pair(STRONG, RESISTING, **{missing: None}))
    assert attack.verdict.state is State.NOT_RUN


@pytest.mark.parametrize("index", [0, 1])
def test_either_side_that_diverged_counts(make_pair: Any, index: int) -> None:
    cells = with_health(make_pair(STRONG, RESISTING), index, nonfinite=1)
    cells[index] = dataclasses.replace(cells[index], evaluations=cells[index].evaluations[:1])
    attack = judge_one(cells)
    assert attack.verdict.state is State.DIVERGED
    assert attack.pair.steps == [0]
    assert attack.statistics.counts[0].slow_down["undefended"].value is None
    assert math.isnan(attack.statistics.areas["linear"][("undefended", "defended")[index]].value)
    assert math.isnan(attack.statistics.resistance["linear"].value)


def test_nan_is_no_recovery_and_never_the_worst_case(make_pair: Any) -> None:
    broken = pair_of(make_pair(STRONG, (14.0, math.nan), "full", steps=100))
    scale, judged = judge_attacks([broken, pair_of(make_pair(STRONG, RESISTING))], EvalTable(), RESAMPLING)
    assert math.isnan(judged[0].peak.value)
    assert judged[0].verdict.state is State.DIVERGED
    assert judged[0].statistics.counts[0].counts["defended"].value is None
    assert worst_case(judged).method == "lora"
    assert scale.ceiling_db == 24.5


def test_a_diverged_undefended_attack_sets_no_ceiling(make_pair: Any) -> None:
    broken = pair_of(make_pair((18.0, math.nan), (14.0, 15.0), "full"))
    scale, judged = judge_attacks([broken, pair_of(make_pair(STRONG, RESISTING))], EvalTable(), RESAMPLING)
    assert (scale.method, scale.ceiling_db) == ("lora", 24.5)
    assert [attack.verdict.state for attack in judged] == [State.DIVERGED, State.VALID]


def test_an_infinite_ceiling_defines_no_recovery_and_is_not_valid(make_pair: Any) -> None:
    attack = judge_one(make_pair((18.0, math.inf), (14.0, 15.0)))
    assert math.isnan(attack.peak.value)
    assert attack.verdict.state is State.NOT_RUN
    assert judge_one(make_pair(STRONG, (14.0, math.inf))).peak.value == math.inf


@given(st.floats(0.0, 40.0), st.floats(0.1, 30.0), st.floats(-1.0, 2.0))
def test_recovery_is_linear_in_decibels(floor: float, span: float, share: float) -> None:
    groups = ["a", "b", "b"]
    scale = Scale([floor] * 3, [floor + span] * 3, groups, ANY_PAIR, 10)
    found = scale.recovery([floor + share * span] * 3, RESAMPLING)
    assert found.value == pytest.approx(share, abs=1e-6)
    assert found.groups == 2


def test_no_recovery_where_the_ceiling_is_not_above_the_floor() -> None:
    assert math.isnan(Scale([20.0], [20.0], ["a"], ANY_PAIR, 0).recovery([10.0], RESAMPLING).value)


def save(folder: Path, cells: list[Cell]) -> None:
    for cell in cells:
        write_cell(folder / "cells", cell)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ids": ["mug/0", "mug/9"]}, "object 'mug/1' is not in both"),
        ({"seed": 7}, "seed 0 .undefended. and 7 .defended."),
        ({"steps": 50}, "steps 100 .undefended. and 50"),
        ({"source": None}, "source, step 0: object 'house/0' is not in both"),
    ],
)
def test_cells_that_are_no_pair_are_refused(
    tmp_path: Path, make_pair: Any, changes: dict[str, Any], problem: str
) -> None:
    save(tmp_path, [make_pair(STRONG, RESISTING)[0], make_pair(STRONG, RESISTING, **changes)[1]])
    with pytest.raises(UsageError, match=problem) as error:
        read_pair(tmp_path, "lora")
    assert error.value.hint == "attack both sets of weights in one run: geotrap attack lora"


def test_other_views_groups_metrics_and_checkpoints_are_no_pair(tmp_path: Path, make_pair: Any) -> None:
    def change(cell: Cell, **changes: Any) -> Cell:
        first, *others = cell.evaluations[0].target
        evaluation = dataclasses.replace(cell.evaluations[0], target=[dataclasses.replace(first, **changes), *others])
        return dataclasses.replace(cell, evaluations=[evaluation, *cell.evaluations[1:]])

    undefended, defended = make_pair(STRONG, RESISTING)
    measured = defended.evaluations[0].target[0].metrics
    broken = {
        "other views": change(defended, metrics=measured | {"white_foreground_psnr": 11.0}),
        "not in both": change(defended, group="other"),
        "other metrics": change(defended, metrics={"foreground_psnr": 1.0}),
        "evaluated after": dataclasses.replace(
            defended, evaluations=[*defended.evaluations[:1], *defended.evaluations[2:]]
        ),
    }
    for problem, cell in broken.items():
        save(tmp_path, [undefended, cell])
        with pytest.raises(UsageError, match=problem):
            read_pair(tmp_path, "lora")


def test_order_of_objects_does_not_matter(tmp_path: Path, make_pair: Any) -> None:
    undefended, defended = make_pair(STRONG, RESISTING)
    turned = [dataclasses.replace(evaluation, target=evaluation.target[::-1]) for evaluation in defended.evaluations]
    save(tmp_path, [undefended, dataclasses.replace(defended, evaluations=turned)])
    judged = judge_attacks([read_pair(tmp_path, "lora")], EvalTable(), RESAMPLING)[1]
    straight = judge_attacks([pair_of([undefended, defended])], EvalTable(), RESAMPLING)[1]
    assert judged[0].statistics.recovery == straight[0].statistics.recovery


def test_comparable_needs_the_same_objects(make_pair: Any) -> None:
    first = pair_of(make_pair(STRONG, RESISTING))
    assert comparable(first, pair_of(make_pair((1.0, 2.0), (3.0, 4.0), "full")))
    assert not comparable(first, pair_of(make_pair(STRONG, RESISTING, ids=["mug/0"])))


def test_health_without_a_record_stays_unknown(make_pair: Any) -> None:
    cells = make_pair(STRONG, RESISTING)
    cells[1] = dataclasses.replace(cells[1], health=AttackHealth(None, None, None, None))
    assert judge_one(cells).verdict.state is State.NOT_RUN


@pytest.mark.parametrize(
    ("undefended", "defended", "masked"),
    [(0.77, 0.78, False), (0.77, 0.95, True), (0.1, 0.5, False), (1.0, 1.0, False)],
)
def test_saturation_counts_in_excess_of_the_undefended_model(
    make_pair: Any, undefended: float, defended: float, masked: bool
) -> None:
    cells = with_health(make_pair(STRONG, RESISTING), 0, saturated_share=undefended)
    cells = with_health(cells, 1, saturated_share=defended)
    assert (State.MASKED in judge_one(cells).verdict.states) is masked
