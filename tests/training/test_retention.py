"""``[retain]`` as the objective sees it: weighted terms, their metrics, and a cache that changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geotrap_cli.data.procedural.dataset import ProceduralDataset
from geotrap_cli.data.rig import quads
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.distillation import distillation
from geotrap_cli.training.distillation_render import render_distillation
from geotrap_cli.training.retention import Retention
from geotrap_cli.training.teacher import Teacher
from geotrap_cli.training.trap_set import TrapSet

Open = Callable[..., Any]


def parts(opened: Any) -> tuple[Retention, Any, GaussianBatch, GaussianBatch]:
    """The retention of a profile, a source batch, and what a moved student and the teacher make of it."""
    bench, teacher = opened.bench, copy.deepcopy(opened.model)
    retention = Retention(bench, teacher)
    source = bench.sampler(bench.splits.source_train, retention.views, 0).batch(0, 2)
    with torch.no_grad():
        for index, parameter in enumerate(opened.model.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            parameter += 0.05 * noise
    return retention, source, opened.model.forward_gaussians(source.images), teacher.forward_gaussians(source.images)


@pytest.mark.parametrize(
    ("overrides", "settings"),
    [
        ((), (1, "none", "raw")),
        (("retain.power=2", "retain.normalise=attribute"), (2, "attribute", "raw")),
        (("retain.quaternions=sign_invariant",), (1, "none", "sign_invariant")),
    ],
)
def test_settings_reach_the_attribute_term(open_mini: Open, overrides: tuple[str, ...], settings: Any) -> None:
    retention, source, student, teacher = parts(open_mini("retain.weight=7.0", *overrides))
    term = retention(student, source)
    expected = distillation(student, teacher, *settings)
    assert list(term.metrics) == list(retention.metric_names) == ["distill"]
    assert term.metrics["distill"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert term.loss.item() == pytest.approx(7 * expected.item(), rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_the_image_term_is_added_with_its_weight(open_mini: Open, weight: float) -> None:
    opened = open_mini(f"retain.weight={weight}", "retain.render_weight=5.0", "retain.render_views=3")
    retention, source, student, teacher = parts(opened)
    assert source.cameras.viewmats.shape[:2] == (2, 3)
    term = retention(student, source)
    expected = render_distillation(student, teacher, source.cameras).item()
    assert list(term.metrics) == list(retention.metric_names) == ["distill", "distill_render"]
    assert term.metrics["distill_render"].item() == pytest.approx(expected, rel=1e-3)
    assert expected > 1e-4
    total = weight * term.metrics["distill"] + 5 * term.metrics["distill_render"]
    assert term.loss.item() == pytest.approx(total.item(), rel=1e-6)


def test_without_the_image_term_no_view_is_drawn(open_mini: Open) -> None:
    retention, source, *_ = parts(open_mini())
    assert retention.views == 0
    assert source.rgb.shape[1] == 0


STEPS = 4


def losses(opened: Any) -> list[dict[str, float]]:
    """Metrics of a short training at a high learning rate."""
    teacher = copy.deepcopy(opened.model)
    objective = DefenseObjective(opened.bench, opened.model, teacher, TrapSet.from_profile(opened.bench.profile))
    optimizer = torch.optim.AdamW(opened.model.parameters(), lr=1e-3)
    history = []
    for step in range(STEPS):
        terms = objective(step)
        optimizer.zero_grad()
        terms["total"].backward()
        optimizer.step()
        history.append({name: value.item() for name, value in terms.items()})
    return history


def _one_ring(dataset: ProceduralDataset, id: str) -> list[list[int]]:
    del dataset, id
    return quads()[:1]


def test_training_is_the_same_bit_by_bit_with_the_cache_and_without(
    open_mini: Open, shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOTRAP_CACHE", str(tmp_path / "cache"))
    # One ring an object, so that the second epoch meets stored outputs, in batches other than those they are from.
    monkeypatch.setattr(ProceduralDataset, "rings", _one_ring)
    settings = (f"data.cache={shared_cache}", "train.batch_size=3")
    plain = losses(open_mini(*settings))
    assert not (tmp_path / "cache").exists()
    cold = losses(open_mini(*settings, "retain.cache=true"))
    stored = sorted((tmp_path / "cache").glob("teacher-v1/*/*.safetensors"))
    assert 3 * STEPS > len(stored) == len(open_mini(*settings).bench.splits.source_train)
    monkeypatch.setattr(Teacher, "_compute", None)
    warm = losses(open_mini(*settings, "retain.cache=true"))
    assert plain == cold == warm
    assert sorted((tmp_path / "cache").glob("teacher-v1/*/*.safetensors")) == stored
