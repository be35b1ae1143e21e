from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from geotrap_cli.data.views import evaluation_batches
from geotrap_cli.evaluation.audit import GRADIENT_DEFENDED, GRADIENT_UNDEFENDED, WEIGHT_CHANGE, read_audit, write_audit
from geotrap_cli.training.audit import audit_defense, measure_drift, measure_shortcut, measure_target, shortcut_objects
from geotrap_cli.training.drift import attribute_drift
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
    rows = {row.trap: row for row in measure_target(bench, traps, model, teacher)[0]}
    defended = gaussians(bench, bench.splits.eval_target, model)
    undefended = gaussians(bench, bench.splits.eval_target, teacher)
    assert len(defended) == 3
    for key, trap in traps.traps.items():
        assert rows[key].defended == pytest.approx(trap.depth(defended).mean().item(), rel=1e-4)
        assert rows[key].undefended == pytest.approx(trap.depth(undefended).mean().item(), rel=1e-4)
        assert rows[key].relative == pytest.approx(rows[key].defended - rows[key].undefended, abs=1e-5)
    assert rows["opacity"].relative < -0.1
    assert rows["position"].relative == pytest.approx(0, abs=1e-5)


def test_geometry_is_that_of_the_same_objects_before_and_after(measured: Any) -> None:
    bench, model, teacher, traps = measured
    states: dict[str, Any] = dict(measure_target(bench, traps, model, teacher)[1])
    assert states["undefended"].objects == states["defended"].objects == bench.draw(bench.splits.eval_target)
    for name, generator in (("undefended", teacher), ("defended", model)):
        batch = gaussians(bench, bench.splits.eval_target, generator)
        assert states[name].median("opacity") == pytest.approx(batch.opacities.median().item(), rel=1e-3)
    # Only the opacities moved.
    assert states["undefended"].median("opacity") > states["defended"].median("opacity")
    assert (
        states["undefended"].distributions["anisotropy"].shares == states["defended"].distributions["anisotropy"].shares
    )


def test_drift_counts_every_source_object_once(measured: Any) -> None:
    bench, model, teacher, _ = measured
    drift, by_attribute = measure_drift(bench, model, teacher)
    # Three objects in batches of two: the mean of the batches' means would count the third object double.
    together = [gaussians(bench, bench.splits.source_eval, generator) for generator in (model, teacher)]
    assert len(together[0]) == 3
    assert drift == pytest.approx((together[0].activated - together[1].activated).abs().mean().item(), rel=1e-5)
    expected = {name: moved.mean().item() for name, moved in attribute_drift(*together).items()}
    assert by_attribute == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert by_attribute["opacities"] > 0
    assert by_attribute["means"] == 0


def test_nothing_changes_where_nothing_was_defended(measured: Any) -> None:
    bench, _, teacher, traps = measured
    rows, states = measure_target(bench, traps, teacher, teacher)
    assert [row.relative for row in rows] == [0, 0]
    assert states["undefended"] == states["defended"]
    assert measure_drift(bench, teacher, teacher)[0] == 0
    shortcut = measure_shortcut(bench, traps, teacher, teacher, ())
    # Without a change there is no share of it, which is not the same as a share of zero.
    assert shortcut[WEIGHT_CHANGE] is None
    assert shortcut[GRADIENT_DEFENDED] == shortcut[GRADIENT_UNDEFENDED] is not None


def test_shortcut_finds_the_tensor_that_was_changed(measured: Any) -> None:
    bench, model, teacher, traps = measured
    shortcut = measure_shortcut(bench, traps, model, teacher, {"conv.bias"})
    change = shortcut[WEIGHT_CHANGE]
    assert change is not None
    assert change.top == {"1": 1.0, "5": 1.0, "10": 1.0}
    assert (change.largest[0].name, change.largest[0].share, change.largest[0].trained) == ("conv.bias", 1.0, True)
    assert change.tensors == len(list(model.parameters()))


def test_gradients_are_those_of_single_defense_target_objects(measured: Any) -> None:
    bench, model, teacher, traps = measured
    assert set(shortcut_objects(bench)) <= set(bench.splits.defense_target)
    found = measure_shortcut(bench, traps, model, teacher, ())[GRADIENT_DEFENDED]
    batch = gaussians(bench, tuple(shortcut_objects(bench)), model)
    total = dict.fromkeys((name for name, _ in model.named_parameters()), 0.0)
    for index in range(len(batch)):
        model.zero_grad()
        traps.aggregate(traps.losses(batch))[index].backward(retain_graph=True)
        for name, parameter in model.named_parameters():
            total[name] += parameter.grad.double().square().sum().item()
    assert found is not None
    for tensor in found.largest:
        assert tensor.share == pytest.approx(total[tensor.name] / sum(total.values()), rel=1e-3)


def test_what_requires_gradients_is_as_before(measured: Any) -> None:
    bench, model, teacher, traps = measured
    teacher.requires_grad_(False)
    model.conv.weight.requires_grad_(False)
    measure_shortcut(bench, traps, model, teacher, ())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["conv.weight"]
    assert all(parameter.grad is None for parameter in [*model.parameters(), *teacher.parameters()])


def test_audit_survives_the_disk(measured: Any, tmp_path: Any) -> None:
    bench, model, teacher, traps = measured
    audit = audit_defense(bench, traps, model, teacher, {"conv.bias"})
    write_audit(tmp_path, audit)
    assert read_audit(tmp_path) == audit
    payload = audit.payload()
    assert set(payload) == {"depths", "source_drift", "source_drift_by_attribute", "geometry", "shortcut"}
    assert list(payload["geometry"]) == ["undefended", "defended"]
    assert list(payload["shortcut"]) == [GRADIENT_UNDEFENDED, GRADIENT_DEFENDED, WEIGHT_CHANGE]
    assert list(payload["depths"][0]) == ["trap", "undefended", "defended", "opacity-weighted", "relative"]
