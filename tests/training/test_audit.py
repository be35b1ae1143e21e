from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from geotrap_cli.data.views import evaluation_batches
from geotrap_cli.training.audit import measure_depths
from geotrap_cli.training.retention import distillation
from geotrap_cli.training.trap_set import TrapSet


@pytest.fixture
def measured(open_mini: Callable[..., Any]) -> tuple[Any, Any, Any, TrapSet]:
    opened = open_mini("data.objects_per_category=9", "eval.objects=3", "eval.batch_size=2")
    teacher = copy.deepcopy(opened.model)
    with torch.no_grad():
        # Less opaque, and everything else as it was.
        opened.model.conv.bias[3] -= 1.0
    return opened.bench, opened.model, teacher, TrapSet.from_profile(opened.bench.profile)


def gaussians(bench: Any, ids: tuple[str, ...], model: Any) -> Any:
    batches = list(evaluation_batches(bench.dataset, bench.draw(ids), 16, 16, 2, 100, bench.seed))
    return model.forward_gaussians(torch.cat([batch.images for batch in batches]))


def test_depths_are_means_over_held_out_target_objects(measured: Any) -> None:
    bench, model, teacher, traps = measured
    rows = {row.trap: row for row in measure_depths(bench, traps, model, teacher)[0]}
    defended = gaussians(bench, bench.splits.eval_target, model)
    undefended = gaussians(bench, bench.splits.eval_target, teacher)
    assert len(defended) == 3
    for key, trap in traps.traps.items():
        assert rows[key].defended == pytest.approx(trap.depth(defended).mean().item(), rel=1e-4)
        assert rows[key].undefended == pytest.approx(trap.depth(undefended).mean().item(), rel=1e-4)
        assert rows[key].relative == pytest.approx(rows[key].defended - rows[key].undefended, abs=1e-5)
    assert rows["opacity"].relative < -0.1
    assert rows["position"].relative == pytest.approx(0, abs=1e-5)


def test_drift_counts_every_source_object_once(measured: Any) -> None:
    bench, model, teacher, traps = measured
    _, drift = measure_depths(bench, traps, model, teacher)
    # Three objects in batches of two: the mean of the batches' means would count the third object double.
    together = [gaussians(bench, bench.splits.source_eval, generator) for generator in (model, teacher)]
    assert len(together[0]) == 3
    assert drift == pytest.approx(distillation(*together).item(), rel=1e-5)


def test_nothing_changes_where_nothing_was_defended(measured: Any) -> None:
    bench, _, teacher, traps = measured
    rows, drift = measure_depths(bench, traps, teacher, teacher)
    assert drift == 0
    assert [row.relative for row in rows] == [0, 0]


def test_record_has_the_columns_of_the_table(measured: Any) -> None:
    bench, model, teacher, traps = measured
    row = measure_depths(bench, traps, model, teacher)[0][0].record()
    assert list(row) == ["trap", "undefended", "defended", "opacity-weighted", "relative"]
