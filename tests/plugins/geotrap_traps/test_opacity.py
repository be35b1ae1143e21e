from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from geotrap_traps.opacity import OpacityConfig, OpacityTrap, top_mean

from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate

Cloud = Callable[..., GaussianBatch]


def make(mode: str, **options: object) -> OpacityTrap:
    return OpacityTrap(OpacityConfig(mode=mode, **options))


def from_logits(logits: torch.Tensor) -> GaussianBatch:
    raw = torch.zeros(1, len(logits), 14, dtype=logits.dtype)
    raw[0, :, CHANNELS["opacities"]] = logits[:, None]
    return activate(raw)


def log_loss(opacity: float) -> float:
    return math.log((opacity + 1e-6) / (1 + 1e-6))


OPACITIES = torch.tensor([[[0.9], [0.5], [0.1], [0.01]]], dtype=torch.float64)


def test_known_values(cloud: Cloud) -> None:
    batch = cloud(opacities=OPACITIES)
    logs = [log_loss(value) for value in (0.9, 0.5, 0.1, 0.01)]
    assert make("linear").loss(batch).item() == pytest.approx(0.3775 - 1)
    assert make("log").loss(batch).item() == pytest.approx(sum(logs) / 4)
    assert make("log", top_fraction=0.5).loss(batch).item() == pytest.approx((logs[0] + logs[1]) / 2)
    assert make("linear", top_fraction=0.01).loss(batch).item() == pytest.approx(-0.1)
    hybrid = make("hybrid", bulk=2.0, tail=3.0, top_fraction=0.25).loss(batch).item()
    assert hybrid == pytest.approx(2 * sum(logs) / 4 + 3 * logs[0])


def test_log_spans_thirteen_point_eight_and_reaches_both_ends(cloud: Cloud) -> None:
    ends = make("log").loss(cloud(opacities=torch.tensor([0.0, 1.0]).reshape(2, 1, 1)))
    assert ends.tolist() == pytest.approx([math.log(1e-6 / (1 + 1e-6)), 0.0], abs=1e-9)


def test_logit_is_the_mean_pre_activation() -> None:
    batch = from_logits(torch.tensor([-40.0, 3.0, 7.0]))
    assert make("logit").loss(batch).item() == pytest.approx(-10)
    assert make("hybrid", base="logit", bulk=1.0, tail=2.0).loss(batch).item() == pytest.approx(-10 + 14)
    assert make("logit").upper_bound is None
    assert make("hybrid", base="logit").upper_bound is None


def test_log_from_pre_activations_equals_log_of_opacity() -> None:
    batch = from_logits(torch.linspace(-30, 30, 41, dtype=torch.float64))
    imported = GaussianBatch(batch.activated)
    torch.testing.assert_close(make("log").loss(batch), make("log").loss(imported), rtol=1e-12, atol=1e-12)


def test_log_has_a_gradient_where_the_opacity_underflows() -> None:
    """A clamp at ε would have none; float32 opacity is 1e-9 here."""
    raw = torch.zeros(1, 1, 14)
    raw[..., CHANNELS["opacities"]] = -20.0
    raw.requires_grad_()
    make("log").loss(activate(raw)).sum().backward()
    opacity = math.exp(-20)
    assert raw.grad is not None
    assert raw.grad[0, 0, 3].item() == pytest.approx(opacity / (opacity + 1e-6), rel=1e-4)


def test_linear_stalls_where_log_keeps_falling() -> None:
    """Plain gradient descent on logits from a generator's mean opacity, 0.03, one step size for both."""
    logits, losses = {}, {}
    for mode in ("linear", "log"):
        raw = torch.full((1, 8, 14), -3.5, dtype=torch.float64, requires_grad=True)
        logits[mode], losses[mode] = [], []
        for _ in range(200):
            loss = make(mode).loss(activate(raw)).sum()
            (gradient,) = torch.autograd.grad(loss, raw)
            with torch.no_grad():
                raw -= 8 * 0.05 * gradient
            logits[mode].append(raw[0, 0, 3].item())
            losses[mode].append(loss.item())
    second_half = {mode: values[99] - values[-1] for mode, values in losses.items()}
    assert second_half["linear"] < 0.01
    assert second_half["log"] > 4
    assert logits["log"][99] - logits["log"][-1] > 5 * (logits["linear"][99] - logits["linear"][-1])


@pytest.mark.parametrize("mode", ["linear", "log", "logit", "hybrid"])
def test_fading_deepens_steadily(mode: str) -> None:
    path = [
        make(mode).loss(from_logits(torch.full((5,), 6.0 - step, dtype=torch.float64))).item() for step in range(18)
    ]
    assert path == sorted(path, reverse=True)


def test_the_tail_finds_a_few_opaque_gaussians(cloud: Cloud) -> None:
    opacities = torch.full((1, 100, 1), 1e-4)
    opacities[0, :2] = 0.99
    batch = cloud(opacities=opacities)
    assert make("log").loss(batch).item() < -8
    assert make("log", top_fraction=0.02).loss(batch).item() > -0.02


def test_the_tail_passes_over_gaussians_without_weight(cloud: Cloud) -> None:
    weights = torch.tensor([[0.0, 1.0, 3.0, 1.0]])
    loss = make("linear", top_fraction=0.5).loss(cloud(opacities=OPACITIES), weights)
    assert loss.item() == pytest.approx((0.5 + 3 * 0.1) / 4 - 1)


@pytest.mark.parametrize(("fraction", "count"), [(1e-6, 1), (0.1, 3), (0.11, 4), (1.0, 30)])
def test_the_share_is_rounded_up(fraction: float, count: int) -> None:
    values = torch.arange(30.0, dtype=torch.float64)[None]
    assert top_mean(values, fraction, None).item() == values[0, 30 - count :].mean().item()


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "log", "bulk": 2.0},
        {"mode": "linear", "base": "logit"},
        {"mode": "linear", "epsilon": 1e-3},
        {"mode": "hybrid", "base": "logit", "epsilon": 1e-3},
        {"mode": "log", "top_fraction": 0.0},
        {"mode": "log", "top_fraction": 1.5},
        {"mode": "hybrid", "tail": 0.0},
        {"mode": "cubic"},
        {"epsilon": float("nan")},
    ],
)
def test_options_without_effect_or_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="OpacityConfig"):
        OpacityConfig(**options)
