"""Intervals over crossed seeds and objects, and what an attack left of a defense, object by object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.bootstrap import mean_interval
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.profile import LoadedProfile


@pytest.fixture
def grid() -> Any:
    import _grid

    return _grid


def width(interval: Any) -> float:
    return interval.high - interval.low


def table(effects_of_seeds: list[float], effects_of_objects: list[float]) -> tuple[dict[str, Any], dict[str, str]]:
    values = {f"o{i}": [seed + one for seed in effects_of_seeds] for i, one in enumerate(effects_of_objects)}
    return values, {id: id for id in values}


def test_one_seed_is_the_bootstrap_over_groups(grid: Any) -> None:
    values, groups = table([0.0], [1.0, 2.0, 4.0, 8.0])
    assert grid.crossed_interval(values, groups) == mean_interval([1.0, 2.0, 4.0, 8.0], list(groups.values()))


def test_what_differs_between_seeds_alone_widens_the_interval(grid: Any) -> None:
    same = grid.crossed_interval(*table([0.0, 0.0, 0.0], [0.0] * 6))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    seeds = grid.crossed_interval(*table([-3.0, 0.0, 3.0], [0.0] * 6))
    # The extremes are three times the same seed, which 1 of 27 draws is: they lie beyond neither quantile.
    assert (seeds.value, seeds.low, seeds.high) == (0, -3, 3)


def test_both_sources_of_variance_add_up(grid: Any) -> None:
    rng = np.random.default_rng(0)
    seeds, objects = list(rng.normal(size=8)), list(rng.normal(size=12))
    both, of_seeds, of_objects = (
        width(grid.crossed_interval(*table(*sides)))
        for sides in ((seeds, objects), (seeds, [0.0] * 12), ([0.0] * 8, objects))
    )
    assert both == pytest.approx(np.hypot(of_seeds, of_objects), rel=0.1)


def test_objects_of_a_group_are_one_observation(grid: Any) -> None:
    values = {"a": [1.0, 3.0], "b": [3.0, 5.0], "c": [6.0, 8.0]}
    interval = grid.crossed_interval(values, {"a": "left", "b": "left", "c": "right"})
    assert (interval.value, interval.groups) == (pytest.approx(5.0), 2)


def test_a_value_that_was_not_measured_has_no_interval(grid: Any) -> None:
    interval = grid.crossed_interval(*table([0.0, np.nan], [1.0, 2.0]))
    assert np.isnan(interval.value)
    assert interval.low is None


def test_seeds_on_different_objects_are_refused(grid: Any) -> None:
    with pytest.raises(GeotrapError, match="same objects"):
        grid.crossed_interval({"a": [1.0, 2.0], "b": [1.0]}, {"a": "a", "b": "b"})


def cell(subject: str, before: float, middle: float, after: float) -> Cell:
    def scores(value: float) -> list[ObjectScore]:
        return [ObjectScore(id, id, "knife", {"foreground_psnr": value + shift}) for id, shift in (("x", 0), ("y", 1))]

    evaluations = [
        CellEvaluation(0, scores(before), scores(before + 10)),
        CellEvaluation(1, scores(middle), None),
        CellEvaluation(2, scores(after), scores(after + 10)),
    ]
    return Cell("lora", subject, 2, 0, evaluations, None, 1.0, 1, None, None)


def test_changes_are_defended_less_undefended_at_both_ends(grid: Any) -> None:
    cells = [cell("defended", 5.0, 99.0, 8.0), cell("undefended", 12.0, 99.0, 13.0)]
    changes = {(one.split, one.id): one for one in grid.compare_objects(cells, "lora")}
    assert len(changes) == 4
    assert (changes["target", "x"].before, changes["target", "x"].after) == (-7.0, -5.0)
    source = changes["source", "y"]
    assert (source.undefended_before, source.undefended_after, source.after) == (23.0, 24.0, -5.0)


def test_the_digest_is_that_of_the_content(grid: Any, load_mini: Callable[..., LoadedProfile], tmp_path: Path) -> None:
    digest = grid.profile_digest(load_mini().profile)
    assert digest == grid.profile_digest(load_mini("train.steps=7").profile)
    assert digest != grid.profile_digest(load_mini("train.steps=8").profile)
