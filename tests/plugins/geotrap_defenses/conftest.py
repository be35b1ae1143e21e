"""A generator of one hidden layer, small enough to write every formula down a second time, as matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from geotrap_cli.defenses import Defense
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.training.robust.streams import Stream, torch_stream
from geotrap_cli.training.terms import Term

Weights = Mapping[str, Tensor]
SHARE, RETAINED = 0.75, 3.0


def numbers(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class TinyGenerator(nn.Module):
    """A Gaussian a pixel: its raw channels are an affine map of the tanh of another one."""

    bottleneck, head_units, stages = "body", ("head",), ("body", "head")

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(2, 3, 1), nn.Conv2d(3, 14, 1)
        for index, (name, value) in enumerate(list(self.named_parameters())):
            module, attribute = name.split(".")
            moved = 0.6 * numbers(index, *value.shape) + shift * numbers(10 + index, *value.shape)
            setattr(self.get_submodule(module), attribute, nn.Parameter(moved))

    def forward(self, images: Tensor) -> Tensor:
        raw = self.head(torch.tanh(self.body(images.flatten(0, 1))))
        return raw.movedim(1, -1).reshape(len(images), -1, 14)

    def units(self) -> dict[str, list[str]]:
        return {unit: [f"{unit}.weight", f"{unit}.bias"] for unit in ("body", "head")}


class TinyContext:
    """What a defense works with: the head is frozen, and the weights have moved from the undefended ones."""

    def __init__(self) -> None:
        self.model, self.teacher = TinyGenerator(shift=0.2), TinyGenerator().requires_grad_(False)
        self.model.head.requires_grad_(False)
        self.trained = {f"body.{name}": value for name, value in self.model.body.named_parameters()}
        self.share, self.seed, self.steps, self.device = SHARE, 3, 10, torch.device("cpu")
        self.files: dict[Path, TinyGenerator] = {}
        budget = SimpleNamespace(defense=SimpleNamespace(max_gradient_evaluations=None))
        self.bench = SimpleNamespace(profile=budget)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return list(self.trained.values())

    def generator(self, step: int, stream: Stream) -> torch.Generator:
        return torch_stream(self.seed, step, stream, self.device)

    def open(self, weights: Path) -> TinyGenerator:
        return self.files[weights]

    def gaussians(self, images: Tensor, weights: Weights | None = None) -> GaussianBatch:
        return activate(functional_call(self.model, dict(weights or {}), (images,)))

    def taught(self, images: Tensor) -> GaussianBatch:
        return activate(self.teacher(images))

    undefended = taught

    def distance(self, student: GaussianBatch, taught: GaussianBatch) -> Tensor:
        return (student.activated - taught.activated).abs().mean()

    def retained(self, source: Any) -> Term:
        apart = self.distance(self.gaussians(source.images), self.taught(source.images))
        return Term(RETAINED * apart, {"distill": apart})

    def reconstruction(self, batch: Any, weights: Weights | None = None) -> Tensor:
        return (self.gaussians(batch.images, weights).rgb - 0.9).square().mean()

    def trap_loss(self, gaussians: GaussianBatch) -> Tensor:
        return gaussians.opacities.log().mean()


class Tiny:
    """A step of a defense, and what its formula is made of, written without a module; θ is what is trained, by name."""

    p, q = SHARE, 1 - SHARE

    def __init__(self) -> None:
        self.context = TinyContext()
        # Two objects of two views of six pixels.
        self.source, self.target = (SimpleNamespace(images=numbers(seed, 2, 2, 2, 2, 3)) for seed in (20, 21))

    def hidden(self, images: Tensor, theta: Weights | None = None) -> Tensor:
        """Features before the tanh, a row a pixel; of the undefended weights where there is no θ."""
        weights = dict(self.context.teacher.named_parameters()) if theta is None else theta
        return images.movedim(2, -1).flatten(0, -2) @ weights["body.weight"].flatten(1).T + weights["body.bias"]

    def everything(self) -> dict[str, Tensor]:
        """All weights of the generator, the frozen head's among them, as constants."""
        return {name: value.detach() for name, value in self.context.model.named_parameters()}

    def raw(self, images: Tensor, theta: Weights | None = None) -> Tensor:
        """Raw channels, a row a Gaussian; θ may hold a head."""
        own = dict(self.context.teacher.named_parameters()) if theta is None else {**self.everything(), **theta}
        return self.hidden(images, own).tanh() @ own["head.weight"].flatten(1).T + own["head.bias"]

    def gaussians(self, images: Tensor, theta: Weights | None = None) -> GaussianBatch:
        return activate(self.raw(images, theta).view(len(images), -1, 14))

    def apart(self, images: Tensor, theta: Weights) -> Tensor:
        """Mean absolute distance of the Gaussians to the undefended ones."""
        return (self.gaussians(images, theta).activated - self.gaussians(images).activated).abs().mean()

    def kept(self, theta: Weights) -> Tensor:
        """K_distill."""
        return RETAINED * self.apart(self.source.images, theta)

    def attacked(self, theta: Weights) -> Tensor:
        """L(θ; D_H)."""
        return (self.gaussians(self.target.images, theta).rgb - 0.9).square().mean()

    def gradient(self, objective: Callable[[dict[str, Tensor]], Tensor]) -> dict[str, Tensor]:
        """The gradient of a function of θ, where the generator is now."""
        theta = {name: value.detach().clone().requires_grad_() for name, value in self.context.trained.items()}
        found = torch.autograd.grad(objective(theta), list(theta.values()), materialize_grads=True)
        return dict(zip(theta, found, strict=True))

    def step(self, defense: Defense, step: int = 0) -> dict[str, Tensor]:
        """The gradient that a defense sets in a step."""
        context: Any = self.context
        if not hasattr(defense, "context"):
            defense.prepare(context)
        if type(defense).owns_step:
            defense.step(context, self.source, self.target, step)  # type: ignore[arg-type]
        else:
            defense.losses(self.source, self.target, step)["total"].backward()  # type: ignore[arg-type]
        return {name: value.grad for name, value in context.trained.items()}

    def agree(self, found: Weights, expected: Weights, tolerance: float = 1e-5) -> None:
        """Two gradients are equal up to a share of their length."""
        assert found.keys() == expected.keys()
        first, second = (torch.cat([each[name].flatten() for name in expected]) for each in (found, expected))
        assert (first - second).norm() <= tolerance * second.norm(), (first, second)

    def follows(self, defense: Defense, objective: Callable[[dict[str, Tensor]], Tensor], step: int = 0) -> None:
        """A step of the defense is along the gradient of the objective."""
        found = self.step(defense, step)
        self.agree(found, self.gradient(objective))


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()
