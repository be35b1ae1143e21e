"""Mean pairwise cosine of the traps' gradients at the head's input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.robust.conflict import GradientConflict
from geotrap_cli.training.terms import TargetPass

Mode = Literal["orthogonal", "opposed"]


def conflict(model: LGM, images: Tensor, losses: dict[str, Tensor] | None, mode: Mode, weight: float = 1.0) -> Tensor:
    """The conflict of the traps ``size`` and ``spread`` unless ``losses`` are given by name of a view's pixels."""
    term = GradientConflict(model, mode, weight)
    with term.watching():
        gaussians = activate(model(images))
    found = term(TargetPass(0, images, gaussians, traps(gaussians) if losses is None else losses))
    assert found.loss.item() == pytest.approx(weight * found.metrics["conflict"].item())
    return found.metrics["conflict"]


def traps(gaussians: GaussianBatch) -> dict[str, Tensor]:
    return {
        "size": gaussians.scales.log().mean(dim=(1, 2)),
        "spread": gaussians.means.square().mean(dim=(1, 2)),
        "opacity": gaussians.opacities.square().mean(dim=1),
    }


def measure(model: LGM, images: Tensor, pairs: dict[str, tuple[int, float]], mode: Mode) -> float:
    """The conflict of traps that are ``factor`` times the raw channel sum of one view each."""
    term = GradientConflict(model, mode, 1.0)
    with term.watching():
        raw = model(images)
    views = raw.unflatten(1, (4, -1))
    losses = {name: factor * views[:, view].sum(dim=(1, 2)) for name, (view, factor) in pairs.items()}
    return term(TargetPass(0, images, activate(raw), losses)).metrics["conflict"].item()


@pytest.mark.parametrize(
    ("pairs", "opposed", "orthogonal"),
    [
        ({"a": (0, 1.0), "b": (0, 5.0)}, 1.0, 1.0),
        ({"a": (0, 1.0), "b": (0, -5.0)}, -1.0, 0.0),
        ({"a": (0, 1.0), "b": (1, 1.0)}, 0.0, 0.0),
        ({"a": (0, 1.0), "b": (0, 2.0), "c": (0, -3.0)}, -1 / 3, 1 / 3),
        ({"a": (0, 1.0), "b": (0, 0.0)}, 0.0, 0.0),
        ({"a": (0, 1e-12), "b": (0, 1e12)}, 1.0, 1.0),
    ],
)
def test_known_cosines(
    micro: LGM, images: Tensor, pairs: dict[str, tuple[int, float]], opposed: float, orthogonal: float
) -> None:
    assert measure(micro, images, pairs, "opposed") == pytest.approx(opposed, abs=1e-6)
    assert measure(micro, images, pairs, "orthogonal") == pytest.approx(orthogonal, abs=1e-6)


def test_it_is_the_mean_of_cosines_at_the_input_of_conv_out(micro: LGM, images: Tensor) -> None:
    kept: list[Tensor] = []
    handle = micro.unet.conv_out.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
    micro(images)
    handle.remove()
    cosines = []
    for index in range(2):
        # One object at a time, from the head on.
        features = kept[0][4 * index : 4 * index + 4].requires_grad_()
        raw = micro.conv(micro.unet.conv_out(features)).unflatten(0, (1, 4)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        grads = [
            torch.autograd.grad(loss.sum(), features, retain_graph=True)[0].flatten()
            for loss in traps(activate(raw)).values()
        ]
        pairs = [(0, 1), (0, 2), (1, 2)]
        cosines += [torch.nn.functional.cosine_similarity(grads[i], grads[j], dim=0).item() for i, j in pairs]
    assert conflict(micro, images, None, "opposed").item() == pytest.approx(sum(cosines) / 6, abs=1e-5)
    expected = sum(max(value, 0) for value in cosines) / 6
    assert conflict(micro, images, None, "orthogonal").item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["unet.conv_in.weight", "unet.norm_out.bias", "unet.conv_out.weight"])
def test_its_gradient_is_that_of_finite_differences(micro: LGM, images: Tensor, name: str) -> None:
    model, images = micro.double(), images.double()
    parameter = model.get_parameter(name)
    conflict(model, images, None, "opposed").backward()
    assert parameter.grad is not None
    direction = parameter.grad / parameter.grad.norm()
    values = []
    for step in (1e-4, -1e-4):
        with torch.no_grad():
            parameter += step * direction
        values.append(conflict(model, images, None, "opposed").item())
        with torch.no_grad():
            parameter -= step * direction
    assert (values[0] - values[1]) / 2e-4 == pytest.approx(parameter.grad.norm().item(), rel=1e-4)


def test_source_objects_in_the_same_pass_do_not_count(micro: LGM, images: Tensor) -> None:
    term = GradientConflict(micro, "opposed", 1.0)
    with term.watching():
        both = activate(micro(torch.cat([images, images.flip(0) * 2])))
    joint = term(TargetPass(0, images, both[:2], traps(both[:2]))).metrics["conflict"]
    assert joint.item() == pytest.approx(conflict(micro, images, None, "opposed").item(), abs=1e-5)


def test_a_trap_without_gradient_gives_finite_derivatives(micro: LGM, images: Tensor) -> None:
    term = GradientConflict(micro, "opposed", 1.0)
    with term.watching():
        raw = micro(images)
    gaussians = activate(raw)
    losses = {"a": traps(gaussians)["size"], "b": 0 * raw.sum(dim=(1, 2))}
    term(TargetPass(0, images, gaussians, losses)).loss.backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in micro.parameters())


def test_the_pass_is_let_go(micro: LGM, images: Tensor) -> None:
    term = GradientConflict(micro, "opposed", 1.0)
    with term.watching():
        gaussians = activate(micro(images))
    term(TargetPass(0, images, gaussians, traps(gaussians)))
    assert term._head_input is None
    micro(images)
    assert term._head_input is None


def test_it_enters_the_step_with_the_weight_of_the_traps(make_objective: Callable[..., DefenseObjective]) -> None:
    shares = ("train.source_ratio=0.3", "train.trap_weight=5.0")
    conflict_on = ("robust.conflict=opposed", "robust.conflict_weight=2.0")
    plain, with_term = make_objective(*shares)(0), make_objective(*shares, *conflict_on)(0)
    assert "conflict" not in plain
    added = 0.7 * 5.0 * 2.0 * with_term["conflict"].item()
    assert abs(added) > 1e-3
    assert (with_term["total"] - plain["total"]).item() == pytest.approx(added, rel=1e-2)
