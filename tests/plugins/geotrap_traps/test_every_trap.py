"""What holds for every trap in every mode."""

from __future__ import annotations

import math

import pytest
import torch
from geotrap_traps.color import ColorTrap
from geotrap_traps.dead_zone import DeadZoneTrap
from geotrap_traps.exile import ExileTrap
from geotrap_traps.opacity import OpacityTrap
from geotrap_traps.position import PositionTrap
from geotrap_traps.rotation import RotationTrap
from geotrap_traps.scale import ScaleTrap
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate
from geotrap_cli.traps import Attribute, BaseTrap, Trap

OPTIONS: list[tuple[type[BaseTrap], dict[str, object]]] = [
    (PositionTrap, {}),
    (ScaleTrap, {}),
    (ScaleTrap, {"mode": "magnitude"}),
    (OpacityTrap, {"mode": "linear"}),
    (OpacityTrap, {"mode": "linear", "top_fraction": 0.25}),
    (OpacityTrap, {"mode": "log"}),
    (OpacityTrap, {"mode": "log", "top_fraction": 0.25}),
    (OpacityTrap, {"mode": "logit"}),
    (OpacityTrap, {"mode": "logit", "top_fraction": 0.25}),
    (OpacityTrap, {"mode": "hybrid", "top_fraction": 0.25}),
    (OpacityTrap, {"mode": "hybrid", "base": "logit"}),
    (RotationTrap, {}),
    (RotationTrap, {"mode": "principal_axis"}),
    (ColorTrap, {}),
    (ColorTrap, {"mode": "collapse"}),
    (DeadZoneTrap, {}),
    (DeadZoneTrap, {"parts": ("color",)}),
    (ExileTrap, {}),
    (ExileTrap, {"at": (0.5, 0.0, -0.5)}),
]


def name_of(case: tuple[type[BaseTrap], dict[str, object]]) -> str:
    return "-".join([case[0].key, *(str(value) for value in case[1].values())])


def needs_raw(trap: BaseTrap) -> bool:
    return trap.key == "dead_zone" or getattr(trap.config, "quantity", "") == "logit"


def make(case: tuple[type[BaseTrap], dict[str, object]]) -> BaseTrap:
    return case[0](case[0].Config(**case[1]))


def counts_a_share(trap: BaseTrap) -> bool:
    return trap.key == "opacity" and (trap.config.top_fraction is not None or trap.config.mode == "hybrid")


@pytest.fixture(params=OPTIONS, ids=name_of)
def trap(request: pytest.FixtureRequest) -> BaseTrap:
    return make(request.param)


def test_has_the_interface_of_a_trap(trap: BaseTrap) -> None:
    assert isinstance(trap, Trap)
    assert trap.summary and "\n" not in trap.summary
    assert all(field.description for field in trap.Config.model_fields.values())
    assert type(trap)().config == trap.Config(), "the defaults are the configuration"
    assert trap.Config(**trap.config.model_dump()) == trap.config, "a written-out configuration can be read"


def test_options_are_frozen_and_unknown_ones_refused(trap: BaseTrap) -> None:
    with pytest.raises(ValueError, match="Extra inputs"):
        trap.Config(no_such_option=1)
    with pytest.raises(ValueError, match="frozen"):
        setattr(trap.config, next(iter(trap.Config.model_fields)), 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_is_that_of_finite_differences(trap: BaseTrap, healthy_raw: Tensor, weighted: bool) -> None:
    raw = healthy_raw[:, :6].clone().requires_grad_()
    weights = torch.linspace(0.1, 2, 12, dtype=torch.float64).reshape(2, 6) if weighted else None
    assert torch.autograd.gradcheck(lambda raw: trap.loss(activate(raw), weights), (raw,), atol=1e-6)


def test_second_derivatives_exist_for_a_generic_cloud(trap: BaseTrap, healthy_raw: Tensor) -> None:
    raw = healthy_raw[:1, :4].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda raw: trap.loss(activate(raw)), (raw,), atol=1e-5)


def test_one_value_per_object_that_depends_on_that_object_alone(trap: BaseTrap, healthy: GaussianBatch) -> None:
    both = trap.loss(healthy)
    assert both.shape == (2,)
    torch.testing.assert_close(both, torch.cat([trap.loss(healthy[0]), trap.loss(healthy[1])]))


def test_order_of_gaussians_does_not_matter(trap: BaseTrap, healthy_raw: Tensor) -> None:
    torch.testing.assert_close(trap.loss(activate(healthy_raw.flip(1))), trap.loss(activate(healthy_raw)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_result_keeps_the_precision_of_the_batch(trap: BaseTrap, healthy: GaussianBatch, dtype: torch.dtype) -> None:
    value = trap.loss(healthy.to(dtype))
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), trap.loss(healthy), rtol=1e-4, atol=1e-4)


def test_half_precision_is_measured_in_float32(trap: BaseTrap, healthy: GaussianBatch) -> None:
    assert trap.loss(healthy.to(torch.bfloat16)).dtype == torch.float32


def test_equal_weights_are_no_weights(trap: BaseTrap, healthy: GaussianBatch) -> None:
    torch.testing.assert_close(trap.loss(healthy, torch.full((2, 24), 7.0)), trap.loss(healthy))


@pytest.mark.parametrize("case", [case for case in OPTIONS if not counts_a_share(make(case))], ids=name_of)
def test_a_gaussian_of_weight_zero_does_not_count(
    case: tuple[type[BaseTrap], dict[str, object]], healthy: GaussianBatch
) -> None:
    trap = make(case)
    weights = (torch.arange(24) < 20).double().expand(2, 24)
    kept = GaussianBatch(healthy.activated[:, :20], healthy.require_raw()[:, :20])
    torch.testing.assert_close(trap.loss(healthy, weights), trap.loss(kept))


def test_weights_are_constants(trap: BaseTrap, healthy: GaussianBatch) -> None:
    weights = torch.ones(2, 24, requires_grad=True)
    assert not trap.loss(healthy, weights).requires_grad


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.ones(2, 23), "shape"),
        (torch.ones(24), "shape"),
        (-torch.ones(2, 24), "negative"),
        (torch.tensor([[1.0], [0.0]]).expand(2, 24), r"zero for the objects at \[1\]"),
    ],
)
def test_impossible_weights_are_refused(trap: BaseTrap, healthy: GaussianBatch, weights: Tensor, message: str) -> None:
    with pytest.raises(GeotrapError, match=message):
        trap.loss(healthy, weights)


def test_an_empty_cloud_is_refused(trap: BaseTrap) -> None:
    with pytest.raises(GeotrapError, match="no Gaussians"):
        trap.loss(activate(torch.zeros(1, 0, 14)))


def test_imported_gaussians_suffice_unless_the_trap_reads_pre_activations(
    trap: BaseTrap, healthy: GaussianBatch
) -> None:
    imported = GaussianBatch(healthy.activated)
    if needs_raw(trap):
        with pytest.raises(GeotrapError, match="pre-activation"):
            trap.loss(imported)
    else:
        torch.testing.assert_close(trap.loss(imported), trap.loss(healthy))


def test_nan_stays_nan_in_its_object_alone(trap: BaseTrap, healthy_raw: Tensor) -> None:
    broken = healthy_raw.clone()
    broken[0, 3] = torch.nan
    value = trap.loss(activate(broken))
    assert value[0].isnan()
    torch.testing.assert_close(value[1], trap.loss(activate(healthy_raw))[1])


def test_nan_weights_give_nan(trap: BaseTrap, healthy: GaussianBatch) -> None:
    assert trap.loss(healthy, torch.full((2, 24), torch.nan)).isnan().all()


def test_nan_reaches_the_gradient(healthy_raw: Tensor) -> None:
    broken = healthy_raw.clone()
    broken[0, 3, 0] = torch.nan
    broken.requires_grad_()
    PositionTrap().loss(activate(broken)).sum().backward()
    assert broken.grad is not None
    assert broken.grad[0].isnan().any()
    assert broken.grad[1].isfinite().all()


DEGENERATE = {
    "one": lambda raw: raw[:, :1],
    "two": lambda raw: raw[:, :2],
    "coincident": lambda raw: raw[:, :1].repeat(1, 9, 1),
    "coplanar": lambda raw: raw * (torch.arange(14) != 2),
    "collinear": lambda raw: raw * ~torch.isin(torch.arange(14), torch.tensor([1, 2])),
    "zero": torch.zeros_like,
    "huge": lambda raw: raw * 0 + 500,
    "very negative": lambda raw: raw * 0 - 500,
    "cube corners": lambda raw: raw.sign() * 50,
}


@pytest.mark.parametrize("degenerate", DEGENERATE)
def test_degenerate_clouds_have_finite_value_and_gradient(trap: BaseTrap, healthy_raw: Tensor, degenerate: str) -> None:
    raw = DEGENERATE[degenerate](healthy_raw).float().clone().requires_grad_()
    loss = trap.loss(activate(raw))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


@pytest.mark.parametrize("opacity", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0])
@pytest.mark.parametrize("case", [case for case in OPTIONS if not needs_raw(make(case))], ids=name_of)
def test_extreme_activated_values_have_finite_value_and_gradient(
    case: tuple[type[BaseTrap], dict[str, object]], healthy: GaussianBatch, opacity: float, scale: float
) -> None:
    activated = healthy.activated.clone()
    activated[..., CHANNELS["opacities"]], activated[..., CHANNELS["scales"]] = opacity, scale
    activated.requires_grad_()
    loss = make(case).loss(GaussianBatch(activated))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert activated.grad is not None
    assert activated.grad.isfinite().all()


@settings(max_examples=40, deadline=None)
@given(values=arrays("float64", (1, 5, 14), elements=st.floats(-60, 60)), case=st.sampled_from(OPTIONS))
def test_the_upper_bound_holds(values: object, case: tuple[type[BaseTrap], dict[str, object]]) -> None:
    trap = make(case)
    value = trap.loss(activate(torch.as_tensor(values))).item()
    assert value <= (math.inf if trap.upper_bound is None else trap.upper_bound) + 1e-9


def test_descent_on_a_free_cloud_deepens_the_trap(trap: BaseTrap, healthy_raw: Tensor) -> None:
    raw = healthy_raw.clone().requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(30):
        optimizer.zero_grad()
        trap.loss(activate(raw)).sum().backward()
        optimizer.step()
    depth = trap.depth(activate(raw), reference=activate(healthy_raw))
    assert (depth < -0.1).all()


ATTRIBUTES = {
    "position": Attribute("means"),
    "scale": Attribute("scales"),
    "opacity": Attribute("opacities"),
    "rotation": Attribute("quats"),
    "color": Attribute("rgb"),
    "exile": Attribute("means"),
}


@pytest.mark.parametrize("case", OPTIONS, ids=name_of)
def test_the_attribute_is_all_that_the_loss_reacts_to(case: tuple[type[BaseTrap], dict[str, object]]) -> None:
    trap = make(case)
    raw = (2 * torch.randn(1, 6, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).requires_grad_()
    batch = activate(raw)
    (of_loss,) = torch.autograd.grad(trap.loss(batch).sum(), raw)
    assert trap.attribute is not None
    reacts = of_loss.abs().sum(dim=(0, 1)) > 0
    named = torch.zeros(14, dtype=torch.bool)
    for name in trap.attribute.names:
        named[CHANNELS[name]] = True
    assert reacts.any()
    assert not (reacts & ~named).any()
    assert trap.attribute == ATTRIBUTES.get(trap.key, trap.attribute)
    assert trap.attribute.raw == (trap.key == "dead_zone")
