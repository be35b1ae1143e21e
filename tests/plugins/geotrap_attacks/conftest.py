"""What an attacker has, in small: balls before four cameras, whose silhouettes and surfaces are known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.attacks import Attack, AttackContext, Sampler
from geotrap_cli.cameras import LGM_FOV_Y_DEG, Cameras, intrinsics_from_fov, orbit_viewmats, pixel_directions
from geotrap_cli.data.batch import ViewBatch, generator_input
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.losses import ReconstructionLoss, with_total

SIZE, SUPERVISED = 8, 6
FIRST = {"target": 0, "source": 100, "benign": 200}


def ring(count: int, elevation: float, size: int) -> Cameras:
    """Cameras around the origin at one elevation."""
    viewmats = orbit_viewmats(elevation, torch.arange(count) * 360 / count)
    K = intrinsics_from_fov(math.radians(LGM_FOV_Y_DEG), size, size)
    return Cameras(viewmats, K.expand(count, 3, 3), size, size)


def entry_depths(cameras: Cameras, radius: float) -> Tensor:
    """Where each pixel's ray enters a ball around the origin, [V, H, W]; NaN for a miss."""
    directions, origins = pixel_directions(cameras), cameras.centers[:, None, None]
    along = -(directions * origins).sum(dim=-1)
    return along - torch.sqrt(radius**2 - (origins.square().sum(dim=-1) - along.square()))


def draw_ball(cameras: Cameras, radius: float, color: Tensor) -> tuple[Tensor, Tensor]:
    """A ball of one colour on white [V, H, W, 3], and its coverage [V, H, W]."""
    alpha = entry_depths(cameras, radius).isfinite().float()
    return torch.where(alpha[..., None] > 0, color, torch.ones(3)), alpha


def ball_batch(radii: list[float], colors: Tensor, ids: list[str], size: int = SIZE) -> ViewBatch:
    """Balls seen by four cameras at the equator; supervised from below."""
    inputs, supervised = ring(4, 0.0, size), ring(SUPERVISED, 30.0, size)
    seen = [draw_ball(inputs, radius, color) for radius, color in zip(radii, colors, strict=True)]
    truth = [draw_ball(supervised, radius, color) for radius, color in zip(radii, colors, strict=True)]
    input_rgb, input_alpha, rgb, alpha = (
        torch.stack([pair[i] for pair in pairs]) for pairs in (seen, truth) for i in (0, 1)
    )
    many = [
        Cameras(c.viewmats.expand(len(radii), -1, -1, -1), c.Ks.expand(len(radii), -1, -1, -1), size, size)
        for c in (inputs, supervised)
    ]
    images = generator_input(input_rgb, many[0])
    return ViewBatch(images, rgb, alpha, many[1], ids, input_rgb, input_alpha, many[0])


def sampler(kind: str) -> Sampler:
    """Batches of balls; every object of every kind has a size and a colour of its own."""

    def batch(step: int, batch_size: int) -> ViewBatch:
        numbers = [FIRST[kind] + step * batch_size + i for i in range(batch_size)]
        draws = [torch.rand(4, generator=torch.Generator().manual_seed(number)) for number in numbers]
        radii = [0.25 + 0.2 * float(draw[0]) for draw in draws]
        return ball_batch(radii, torch.stack([draw[1:] for draw in draws]), [f"{kind}-{n}" for n in numbers])

    return batch


def no_validation() -> Iterator[ViewBatch]:
    raise NotImplementedError


@pytest.fixture(scope="session")
def make_pico(make_micro: Callable[..., LGM]) -> Callable[..., LGM]:
    """Makes the tiny LGM at half its resolution: 256 Gaussians."""

    def make(seed: int = 0, **overrides: Any) -> LGM:
        return make_micro(seed, **({"input_size": SIZE, "splat_size": SIZE, "output_size": SIZE} | overrides))

    return make


@pytest.fixture
def pico(make_pico: Callable[..., LGM]) -> LGM:
    return make_pico()


@pytest.fixture
def make_context() -> Callable[..., AttackContext]:
    """Makes what an attacker has besides the released weights."""

    def make(**changes: Any) -> AttackContext:
        values: dict[str, Any] = {
            "seed": 3,
            "steps": 8,
            "batch_size": 2,
            "device": torch.device("cpu"),
            **{kind: sampler(kind) for kind in FIRST},
            "validation": no_validation,
            "reconstruction_loss": ReconstructionLoss(),
        }
        return AttackContext(**(values | changes))

    return make


@pytest.fixture
def context(make_context: Callable[..., AttackContext]) -> AttackContext:
    return make_context()


@pytest.fixture
def images() -> Tensor:
    """Generator input of two objects."""
    return torch.randn(2, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def tune(images: Tensor) -> Callable[..., None]:
    """Takes three steps of an attack's optimizer on ``images``, towards nothing in particular."""

    def run(model: LGM, attack: Attack, parameters: dict[str, nn.Parameter]) -> None:
        optimizer = attack.optimizer(list(parameters.values()))
        for _ in range(3):
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()

    return run


@pytest.fixture
def run_attack() -> Callable[..., list[float]]:
    """Runs an attack's steps as the program's loop does and returns the totals of its loss."""

    def run(attack: Attack, model: LGM, context: AttackContext) -> list[float]:
        torch.manual_seed(context.seed)
        attack.edit(model, context)
        parameters = list(attack.prepare(model).values())
        optimizer, factor = attack.optimizer(parameters), attack.schedule(context.steps)
        rates = [group["lr"] for group in optimizer.param_groups]
        plan = [phase for phase in attack.phases(context.steps) for _ in range(phase.steps)]
        totals = []
        for step, phase in enumerate(plan):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor(step)
            batch = getattr(context, phase.data)(step, context.batch_size)
            gaussians = attack.gaussians(model.forward_gaussians(batch.images))
            total = with_total(attack.loss_terms(gaussians, batch, phase, context.reconstruction_loss))["total"]
            optimizer.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            attack.after_step(model, step + 1)
            totals.append(float(total.detach()))
        attack.finish(model)
        return totals

    return run
