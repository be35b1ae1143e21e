"""Every method's step follows its formula: two weights, and derivatives by finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from geotrap_defenses._mix import AscentConfig
from geotrap_defenses.booster import BoosterConfig, BoosterDefense
from geotrap_defenses.ctrap import CtrapConfig, CtrapDefense, collapsed
from geotrap_defenses.distill import DistillDefense
from geotrap_defenses.grad_diff import GradDiffDefense
from geotrap_defenses.imma import ImmaConfig, ImmaDefense
from geotrap_defenses.mlac import MlacConfig, MlacDefense
from geotrap_defenses.naive_unlearning import NaiveUnlearningConfig, NaiveUnlearningDefense
from geotrap_defenses.sam_awp import SamAwpConfig, SamAwpDefense
from geotrap_defenses.seam import SeamConfig, SeamDefense
from geotrap_defenses.sophon import SophonConfig, SophonDefense
from geotrap_defenses.tar import TarConfig, TarDefense
from torch import Tensor, nn

from geotrap_cli.cameras import LGM_FOV_Y_DEG, Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.defenses import Defense
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.render import render
from geotrap_cli.training.robust.adaptations import FullAdaptation
from geotrap_cli.training.robust.streams import Stream, numpy_stream, torch_stream
from geotrap_cli.training.terms import Term

SHARE = 0.75
START = (0.7, -0.4)
SIDE = 16
CAMERAS = Cameras(
    orbit_viewmats(0.0, torch.tensor([0.0, 90.0])).double()[None],
    intrinsics_from_fov(math.radians(LGM_FOV_Y_DEG), SIDE, SIDE).double().expand(1, 2, 3, 3),
    SIDE,
    SIDE,
)
Weights = Mapping[str, Tensor]


class TwoWeights(nn.Module):
    """θ = (a, b)."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(START, dtype=torch.float64))


def target_loss(w: Tensor, draw: float = 0.0) -> Tensor:
    """L(θ; D_H) of a batch: curved in both weights, and not symmetric."""
    return (w[0] - 0.2) ** 2 + 0.5 * (w[0] * w[1] + 0.3 + draw) ** 2 + 0.1


def source_loss(w: Tensor) -> Tensor:
    """L(θ; D_R)."""
    return (w[1] + 0.9) ** 2 + 0.25 * w[0] ** 4 + 0.1 * w[0]


def distill(w: Tensor) -> Tensor:
    """K_distill(θ)."""
    return 3 * ((w - torch.tensor([0.5, 0.1], dtype=w.dtype)) ** 2).sum()


def outputs(w: Tensor) -> Tensor:
    """Raw channels of one object with three Gaussians, [1, 3, 14]."""
    base = torch.linspace(-1, 1, 42, dtype=w.dtype).view(1, 3, 14)
    return w[0] * base + w[1] * base.flip(-1) ** 2


class TwoWeightContext:
    """What a defense works with; batches are numbers that shift the target's loss, or the word ``source``."""

    def __init__(self) -> None:
        self.model = TwoWeights()
        self.trained = dict(self.model.named_parameters())
        self.share, self.seed, self.steps, self.batch_size = SHARE, 3, 10, 1
        self.precision, self.device = "fp32", torch.device("cpu")
        budget = SimpleNamespace(defense=SimpleNamespace(max_gradient_evaluations=None))
        self.bench = SimpleNamespace(splits=SimpleNamespace(defense_target=("a", "b", "c")), profile=budget)
        self.draws: list[tuple[Any, ...]] = []

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.trained.values())

    def weights(self, weights: Weights | None) -> Tensor:
        return self.model.w if weights is None or "w" not in weights else weights["w"]

    def reconstruction(self, batch: Any, weights: Weights | None = None) -> Tensor:
        w = self.weights(weights)
        return source_loss(w) if batch.kind == "source" else target_loss(w, batch.draw)

    def retained(self, source: Any) -> Term:
        loss = distill(self.model.w)
        return Term(loss, {"distill": loss})

    def gaussians(self, images: Any, weights: Weights | None = None) -> GaussianBatch:
        return activate(outputs(self.weights(weights)))

    def taught(self, images: Any) -> GaussianBatch:
        return activate(outputs(THETA))

    def trap_loss(self, gaussians: GaussianBatch) -> Tensor:
        return gaussians.opacities.log().mean()

    def target_draw(self, draw: int, stream: Any, ids: Any = None) -> Any:
        self.draws.append((draw, stream, ids))
        return batch("target", 0.01 * draw)

    def source_draw(self, draw: int, stream: Any) -> Any:
        return batch("source")

    def adaptation(self, kind: str, step: int) -> FullAdaptation:
        return FullAdaptation(self.model)


def batch(kind: str, draw: float = 0.0) -> Any:
    return SimpleNamespace(kind=kind, draw=draw, images=torch.zeros(1), cameras=CAMERAS)


@pytest.fixture
def context() -> TwoWeightContext:
    return TwoWeightContext()


@pytest.fixture
def gradient_of(context: TwoWeightContext) -> Callable[..., Tensor]:
    """Takes a step of a defense and returns the gradient that it sets."""

    def take(defense: Defense, step: int = 0) -> Tensor:
        if not hasattr(defense, "context"):
            defense.prepare(context)  # type: ignore[arg-type]
        context.model.w.grad = None
        source, target = batch("source"), batch("target")
        if type(defense).owns_step:
            defense.step(context, source, target, step)  # type: ignore[arg-type]
        else:
            defense.losses(source, target, step)["total"].backward()
        assert context.model.w.grad is not None
        return context.model.w.grad.clone()

    return take


def derivative(function: Callable[[Tensor], Tensor], at: Tensor | tuple[float, ...] = START) -> Tensor:
    """∇function by central differences, at θ."""
    point = torch.as_tensor(at, dtype=torch.float64).detach()
    step = 1e-5
    rows = []
    for index in range(len(point)):
        shift = torch.zeros_like(point)
        shift[index] = step
        rows.append((function(point + shift) - function(point - shift)) / (2 * step))
    return torch.stack([torch.as_tensor(row, dtype=torch.float64).detach() for row in rows])


Gradient = Callable[..., Tensor]
P, Q = SHARE, 1 - SHARE
THETA = torch.tensor(START, dtype=torch.float64)


def close(found: Tensor, expected: Tensor, rel: float = 1e-5) -> None:
    assert torch.allclose(found, expected, rtol=rel, atol=1e-7), (found, expected)


def test_distill_is_the_retention_alone(gradient_of: Gradient) -> None:
    close(gradient_of(DistillDefense()), P * derivative(distill))


def test_naive_unlearning_climbs_until_it_is_bad_enough(gradient_of: Gradient) -> None:
    close(gradient_of(NaiveUnlearningDefense()), -derivative(target_loss))
    assert gradient_of(NaiveUnlearningDefense(NaiveUnlearningConfig(cap=0.2))).tolist() == [0.0, 0.0]


def test_grad_diff_climbs_on_the_target_and_keeps_the_source(gradient_of: Gradient) -> None:
    found = gradient_of(GradDiffDefense(AscentConfig(weight=7.0)))
    close(found, P * derivative(distill) - Q * 7 * derivative(target_loss))
    close(gradient_of(GradDiffDefense(AscentConfig(weight=7.0, cap=0.2))), P * derivative(distill))


def test_ctrap_collapses_after_a_step_of_the_attacker(gradient_of: Gradient) -> None:
    found = gradient_of(CtrapDefense(CtrapConfig(weight=2.0, lr=0.3)))
    delta = -0.3 * derivative(target_loss)
    expected = P * derivative(distill) + Q * 2 * derivative(lambda w: collapsed(activate(outputs(w + delta))))
    close(found, expected)


def test_collapsed_is_zero_for_what_is_transparent_at_the_origin() -> None:
    raw = torch.zeros(1, 4, 14)
    raw[..., 3] = -200.0
    assert collapsed(activate(raw)).item() == 0.0
    raw[..., 0], raw[..., 3] = 0.5, 0.0
    assert collapsed(activate(raw)).item() == pytest.approx(0.25 + 0.25)


def test_booster_subtracts_the_gradient_after_a_normalised_step(gradient_of: Gradient) -> None:
    found = gradient_of(BoosterDefense(BoosterConfig(weight=3.0, radius=0.2)))
    g1 = derivative(target_loss)
    g2 = derivative(target_loss, THETA - 0.2 * g1 / g1.norm())
    close(found, P * derivative(distill) + Q * 3 * (g1 - g2))
    bounded = gradient_of(BoosterDefense(BoosterConfig(weight=3.0, radius=0.2, cap=0.15)))
    close(bounded, P * derivative(distill))


@pytest.mark.parametrize("mode", ["sam", "awp"])
def test_sam_climbs_at_the_attackers_best_step(gradient_of: Gradient, mode: str) -> None:
    found = gradient_of(SamAwpDefense(SamAwpConfig(mode=mode, weight=3.0, rho=0.1)))
    g = derivative(target_loss)
    length = 0.1 * (THETA.norm() if mode == "awp" else 1.0)
    close(found, P * derivative(distill) - Q * 3 * derivative(target_loss, THETA - length * g / g.norm()))


def test_sam_with_noise_draws_anew_at_each_step_and_the_same_again(gradient_of: Gradient) -> None:
    defense = SamAwpDefense(SamAwpConfig(mode="noise", weight=3.0, rho=0.5))
    first, second, again = (gradient_of(defense, step) for step in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_sam_with_noise_climbs_at_weights_with_noise_relative_to_each_tensor(gradient_of: Gradient) -> None:
    found = gradient_of(SamAwpDefense(SamAwpConfig(mode="noise", weight=3.0, rho=0.5, cap=50.0)), step=4)
    drawn = torch.randn(2, generator=torch_stream(3, 4, Stream.PARAMETER_NOISE, THETA.device), dtype=torch.float64)
    there = THETA + 0.5 * THETA.norm() / math.sqrt(2) * drawn
    close(found, P * derivative(distill) - Q * 3 * derivative(target_loss, there))


def test_seam_descends_the_cosine_without_hessians(gradient_of: Gradient) -> None:
    found = gradient_of(SeamDefense(SeamConfig(weight=5.0, unlearn_weight=0.7, epsilon=1e-4)))

    def cosine(w: Tensor) -> Tensor:
        gradients = []
        for loss in (target_loss, source_loss):
            leaf = w.clone().requires_grad_()
            gradients.append(torch.autograd.grad(loss(leaf), leaf)[0])
        return (gradients[0] @ gradients[1]) / (gradients[0].norm() * gradients[1].norm())

    expected = P * derivative(distill) + Q * (5 * derivative(cosine) - 0.7 * derivative(lambda w: target_loss(w).log()))
    close(found, expected, rel=2e-3)


def test_seam_refuses_half_precision(context: Any) -> None:
    context.precision = "bf16"
    with pytest.raises(UsageError, match="needs fp32"):
        SeamDefense().prepare(context)


@pytest.mark.parametrize(
    ("device", "capability", "convolutions", "products", "refuses"),
    [
        ("cuda", (8, 0), True, False, True),
        ("cuda", (9, 0), False, True, True),
        ("cuda", (9, 0), False, False, False),
        ("cuda", (7, 5), True, True, False),
        ("cpu", (9, 0), True, True, False),
    ],
)
def test_seam_refuses_tf32_where_there_is_some(
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    capability: tuple[int, int],
    convolutions: bool,
    products: bool,
    refuses: bool,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.backends, "cudnn", SimpleNamespace(allow_tf32=convolutions))
    monkeypatch.setattr(torch.backends.cuda, "matmul", SimpleNamespace(allow_tf32=products))
    context.device = torch.device(device)
    if not refuses:
        SeamDefense().prepare(context)
        return
    with pytest.raises(UsageError, match="not TF32") as caught:
        SeamDefense().prepare(context)
    assert caught.value.hint == "Add --set device.tf32=false"


def descended(w: Tensor, steps: int, lr: float, first: int = 0, source_until: int = 0) -> list[Tensor]:
    """θ after each of the attacker's plain gradient steps, clipped at norm one."""
    path = []
    for index in range(steps):
        loss = source_loss if index < source_until else lambda x, d=0.01 * (first + index): target_loss(x, d)
        g = derivative(loss, w)
        w = w - lr * g * min(1.0, 1.0 / float(g.norm()))
        path.append(w)
    return path


def denied(w: Tensor) -> Tensor:
    return activate(outputs(w)).opacities.square().mean()


def test_sophon_denies_along_the_path_and_distills_in_turn(gradient_of: Gradient) -> None:
    config = SophonConfig(inner_steps=3, kinds=("full",), optimizers=("sgd",), lrs=(0.2,), weight=4.0, discount=0.5)
    expected = sum(Q * 4 * 0.5**k * derivative(denied, phi) for k, phi in enumerate(descended(THETA, 3, 0.2)))
    close(gradient_of(SophonDefense(config), step=0), expected)
    close(gradient_of(SophonDefense(config), step=1), P * derivative(distill))
    both = SophonDefense(config.model_copy(update={"alternate": False}))
    close(gradient_of(both, step=0), expected + P * derivative(distill))


def test_sophon_reports_both_sides_at_every_step_but_the_first(context: Any) -> None:
    defense = SophonDefense(SophonConfig(inner_steps=1, kinds=("full",)))
    defense.prepare(context)
    first, second, third = (defense.step(context, batch("source"), batch("target"), step) for step in range(3))
    assert first.keys() == {"denied"}
    assert second.keys() == third.keys() == {"denied", "distill"}
    assert second["denied"] == first["denied"] != third["denied"]


def whiteness(w: Tensor) -> Tensor:
    """‖R − white‖² of a picture, mean over its numbers."""
    pictures = render(activate(outputs(w)), CAMERAS).rgb
    return ((pictures - 1.0) ** 2).mean()


def test_sophon_may_deny_by_white_pictures(gradient_of: Gradient) -> None:
    config = SophonConfig(
        inner_steps=2, kinds=("full",), optimizers=("sgd",), lrs=(0.2,), weight=4.0, discount=0.5, denial="white"
    )
    expected = torch.zeros_like(THETA)
    for k, phi in enumerate(descended(THETA, 2, 0.2)):
        expected += Q * 4 * 0.5**k * derivative(whiteness, phi)
    assert expected.norm() > 1e-3
    close(gradient_of(SophonDefense(config), step=0), expected, rel=1e-4)


@pytest.mark.parametrize("data", ["target", "source_then_target"])
def test_tar_keeps_the_traps_along_the_path_after_its_safeguard(gradient_of: Gradient, data: str) -> None:
    config = TarConfig(
        inner_steps=5, kinds=("full",), optimizers=("sgd",), lrs=(0.2,), data=(data,), weight=2.0, every=2, decay=0.3,
        safeguard=0.3, hidden_weight=0.0,
    )  # fmt: skip

    def trap(w: Tensor) -> Tensor:
        return activate(outputs(w)).opacities.log().mean()

    close(gradient_of(TarDefense(config), step=2), P * derivative(distill) + Q * 2 * derivative(trap))
    rng = numpy_stream(3, 4, Stream.DEFENSE_SAMPLES)
    rng.integers(1)
    until = int(rng.beta(6.0, 3.0) * 5) if data == "source_then_target" else 0
    path = descended(THETA, 5, 0.2, first=20, source_until=until)
    expected = P * derivative(distill)
    for k in (0, 2, 4):
        expected = expected + Q * 2 * math.exp(0.3 * (k - 4)) * derivative(trap, path[k])
    close(gradient_of(TarDefense(config), step=4), expected)


# The gradient of the attacker's first step is shorter than one, or is clipped to it.
@pytest.mark.parametrize("start", [START, (1.5, -0.4)])
def test_imma_plays_in_turn_and_its_attacker_lives_on(
    context: TwoWeightContext, gradient_of: Gradient, start: tuple[float, float]
) -> None:
    defense = ImmaDefense(ImmaConfig(kind="full", lr=0.3, weight=3.0, cap=5.0, restart_every=2))
    theta, phi = torch.tensor(start, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    assert (derivative(target_loss, theta).norm() > 1) == (start != START)
    context.model.w.data.copy_(theta)
    for step in range(3):
        if step == 2:
            phi = torch.zeros(2, dtype=torch.float64)
        phi = descended(theta + phi, 1, 0.3, first=step)[0] - theta
        expected = P * derivative(distill, theta) - Q * 3 * derivative(target_loss, theta + phi)
        close(gradient_of(defense, step), expected)
        close(defense.state()["adapter.0"].detach(), phi)


def test_imma_splits_the_target_objects_in_two(context: Any, gradient_of: Gradient) -> None:
    ids = ("a", "b", "c", "d", "e")
    assert list(ImmaDefense().target_objects(ids)) == ["b", "d"]
    context.bench.splits.defense_target = ids
    defense = ImmaDefense(ImmaConfig(kind="full"))
    gradient_of(defense, 0), gradient_of(defense, 1)
    assert context.draws == [(step, Stream.ATTACKER_TARGETS, ("a", "c", "e")) for step in range(2)]
    context.bench.splits.defense_target = ("a",)
    with pytest.raises(UsageError, match="two halves"):
        ImmaDefense().prepare(context)


class ScoredMlac(MlacDefense):
    """With an inner loss and a score of two weights."""

    def prepare(self, context: Any) -> None:
        self.context = context

    def inner_loss(self, target: Any, taught: Any, weights: Any) -> Tensor:
        return target_loss(weights["w"])

    def score(self, target: Any, taught: Any, weights: Any, step: int) -> Tensor:
        return source_loss(weights["w"])


def mlac_objective(w: Tensor) -> Tensor:
    """mean_k log(score(φ_k) + ε), by plain gradient steps."""
    scores = []
    for _ in range(2):
        leaf = w.clone().requires_grad_()
        w = w - 0.2 * torch.autograd.grad(target_loss(leaf), leaf)[0]
        scores.append(source_loss(w))
    return torch.log(torch.stack(scores) + 1e-6).mean()


def test_mlac_differentiates_through_the_attack(gradient_of: Gradient) -> None:
    config = MlacConfig(inner_steps=2, lr=0.2, weight=3.0, cap=1.0)
    found = gradient_of(ScoredMlac(config))
    expected = P * derivative(distill) - Q * 3 * derivative(mlac_objective)
    close(found, expected, rel=1e-3)
    path = [THETA - 0.2 * derivative(target_loss)]
    path.append(path[0] - 0.2 * derivative(target_loss, path[0]))
    first_order = gradient_of(ScoredMlac(config.model_copy(update={"second_order": False})))
    mean = sum(derivative(source_loss, place) / (source_loss(place) + 1e-6) for place in path) / 2
    close(first_order, P * derivative(distill) - Q * 3 * mean)
    assert not torch.allclose(found, first_order, rtol=1e-2)
