"""Distances with a known answer, and what must not change them: signs of quaternions, units, other objects."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate
from geotrap_cli.training.distillation import MIN_SCALE, Normalise, Quaternions, attribute_scales, distillation

SETTINGS = [
    (power, normalise, quaternions)
    for power in (1, 2)
    for normalise in ("none", "attribute")
    for quaternions in ("raw", "sign_invariant")
]


def drawn(seed: int, objects: int = 2, gaussians: int = 5) -> GaussianBatch:
    generator = torch.Generator().manual_seed(seed)
    return activate(torch.randn(objects, gaussians, 14, generator=generator, dtype=torch.float64))


def changed(batch: GaussianBatch, **attributes: Tensor | float) -> GaussianBatch:
    activated = batch.activated.detach().clone()
    for name, value in attributes.items():
        activated[..., CHANNELS[name]] = value
    return GaussianBatch(activated)


def constant(value: float) -> GaussianBatch:
    return GaussianBatch(torch.full((2, 3, 14), value), None)


def test_known_values() -> None:
    student, teacher = constant(0.75), constant(0.25)
    assert distillation(student, teacher).item() == 0.5
    assert distillation(student, teacher, power=1).item() == 0.5
    assert distillation(student, teacher, power=2).item() == 0.25
    assert distillation(teacher, student, power=1).item() == 0.5


def test_every_channel_of_every_gaussian_counts_alike() -> None:
    teacher = constant(0.0)
    for channel in range(14):
        changed = torch.zeros(2, 3, 14)
        changed[1, 2, channel] = 84.0
        assert distillation(GaussianBatch(changed, None), teacher).item() == pytest.approx(1.0)


def test_the_teacher_itself_costs_nothing(random_batch: Callable[..., GaussianBatch]) -> None:
    batch = random_batch()
    assert distillation(batch, batch.detach()).item() == 0


@pytest.mark.parametrize("power", [1, 2])
def test_the_gradient_points_away_from_the_teacher(random_batch: Callable[..., GaussianBatch], power: int) -> None:
    student, teacher = random_batch(seed=0), random_batch(seed=1).detach()
    activated = student.activated.detach().requires_grad_()
    distillation(GaussianBatch(activated, None), teacher, power).backward()
    difference = activated.detach() - teacher.activated
    assert activated.grad is not None
    assert torch.equal(activated.grad.sign(), difference.sign())


def test_half_precision_is_compared_in_full(random_batch: Callable[..., GaussianBatch]) -> None:
    student = GaussianBatch(torch.full((1, 1, 14), 1.0, dtype=torch.bfloat16), None)
    teacher = GaussianBatch(torch.full((1, 1, 14), 0.999), None)
    assert distillation(student, teacher).item() == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize(("power", "expected"), [(1, 0.1), (2, 0.01)])
@pytest.mark.parametrize(("name", "channels"), [("means", 3), ("opacities", 1), ("scales", 3), ("rgb", 3)])
def test_a_tenth_of_an_attribute_counts_a_tenth_whatever_its_unit(
    name: str, channels: int, power: int, expected: float
) -> None:
    teacher = drawn(0)
    student = changed(teacher, **{name: 1.1 * teacher.attribute(name)})
    # Every Gaussian differs by 10 % of its own value, so that in root mean square it is 10 % of the attribute's size.
    size = teacher.attribute(name).pow(2).mean(dim=(1, 2), keepdim=True).sqrt()
    relative = (expected * (teacher.attribute(name).abs() / size).pow(power)).mean() * channels / 14
    assert distillation(student, teacher, power, "attribute").item() == pytest.approx(relative.item())


def test_without_normalisation_small_scales_hardly_count_and_with_it_they_do() -> None:
    teacher = changed(drawn(0), scales=0.01, rgb=0.5)
    small, large = changed(teacher, scales=0.02), changed(teacher, rgb=1.0)
    assert distillation(large, teacher).item() == pytest.approx(50 * distillation(small, teacher).item())
    relative = [distillation(student, teacher, normalise="attribute").item() for student in (small, large)]
    assert relative == pytest.approx([3 / 14, 3 / 14])


def test_scales_are_root_mean_squares_per_object_and_attribute() -> None:
    teacher = changed(drawn(0, objects=2, gaussians=2), means=0.5, opacities=0.25, scales=0.02, rgb=1.0)
    teacher.activated[0, :, CHANNELS["opacities"]] = torch.tensor([[0.3], [0.4]], dtype=torch.float64)
    scales = attribute_scales(teacher)
    assert scales.shape == (2, 1, 14)
    assert scales[1, 0].tolist() == pytest.approx([0.5] * 3 + [0.25] + [0.02] * 3 + [0.5] * 4 + [1.0] * 3)
    assert scales[0, 0, CHANNELS["opacities"]].item() == pytest.approx(math.sqrt(0.125))


@pytest.mark.parametrize("quaternions", ["raw", "sign_invariant"])
def test_constant_and_zero_attributes_stay_finite(quaternions: Quaternions) -> None:
    teacher = changed(drawn(0), means=0.0, opacities=0.0, scales=0.05, quats=0.0, rgb=0.0)
    student = changed(teacher, means=1.0, opacities=1.0)
    assert attribute_scales(teacher)[..., CHANNELS["means"]].eq(MIN_SCALE).all()
    expected = (3 + 1) / 14 / MIN_SCALE
    assert distillation(student, teacher, 1, "attribute", quaternions).item() == pytest.approx(expected)


@pytest.mark.parametrize(("power", "normalise", "quaternions"), SETTINGS)
def test_the_gradient_is_that_of_the_value_and_goes_to_the_student_alone(
    power: int, normalise: Normalise, quaternions: Quaternions
) -> None:
    student, teacher = drawn(1).activated.requires_grad_(), drawn(2).activated.requires_grad_()

    def value(activated: Tensor) -> Tensor:
        return distillation(GaussianBatch(activated), GaussianBatch(teacher), power, normalise, quaternions)

    assert torch.autograd.gradcheck(value, (student,))
    value(student).backward()
    assert teacher.grad is None


@given(seed=st.integers(0, 2**20), power=st.sampled_from([1, 2]), normalise=st.sampled_from(["none", "attribute"]))
def test_signs_of_quaternions_change_nothing_unless_raw(seed: int, power: int, normalise: Normalise) -> None:
    student, teacher = drawn(seed), drawn(seed + 1)
    signs = torch.randint(0, 2, (2, 5, 1), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    kept = distillation(student, teacher, power, normalise, "sign_invariant")
    for other in (
        distillation(changed(student, quats=signs * student.quats), teacher, power, normalise, "sign_invariant"),
        distillation(student, changed(teacher, quats=signs * teacher.quats), power, normalise, "sign_invariant"),
    ):
        assert other.item() == pytest.approx(kept.item(), rel=1e-12)
    assert kept <= distillation(student, teacher, power, normalise, "raw")


@pytest.mark.parametrize("power", [1, 2])
def test_each_gaussian_takes_the_nearer_sign(power: int) -> None:
    """For p = 1 that is not always the sign of the dot product."""
    student, teacher = drawn(3, gaussians=200), drawn(4, gaussians=200)
    kept = changed(student, means=teacher.means, scales=teacher.scales, rgb=teacher.rgb)
    kept.activated[..., CHANNELS["opacities"]] = teacher.attribute("opacities")
    distances = [(student.quats - sign * teacher.quats).abs().pow(power).sum(dim=-1) for sign in (1, -1)]
    expected = torch.minimum(*distances).mean().item() / 14
    assert distillation(kept, teacher, power, quaternions="sign_invariant").item() == pytest.approx(expected)


def test_a_mirrored_quaternion_is_the_same_rotation_and_others_are_not() -> None:
    teacher = drawn(0)
    mirrored = changed(teacher, quats=-teacher.quats)
    assert distillation(mirrored, teacher, quaternions="sign_invariant").item() == 0
    assert distillation(mirrored, teacher, quaternions="raw").item() == pytest.approx(
        (2 * teacher.quats.abs()).mean().item() * 4 / 14
    )
    # Half a turn about x against none: (0, 1, 0, 0) is equally far from (1, 0, 0, 0) and its mirror image.
    none, half = torch.eye(4, dtype=torch.float64)[:2]
    apart = distillation(changed(teacher, quats=half), changed(teacher, quats=none), 2, quaternions="sign_invariant")
    assert apart.item() == pytest.approx(2 / 14 * 4 / 4)


@pytest.mark.parametrize(("power", "normalise", "quaternions"), SETTINGS)
@pytest.mark.parametrize("name", list(CHANNELS))
def test_nan_stays_nan(power: int, normalise: Normalise, quaternions: Quaternions, name: str) -> None:
    whole, broken = drawn(0), drawn(1)
    broken.activated[1, 2, CHANNELS[name]] = math.nan
    assert distillation(broken, whole, power, normalise, quaternions).isnan()
    assert distillation(whole, broken, power, normalise, quaternions).isnan()
