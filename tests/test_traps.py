"""The trap interface, on a trap small enough to compute by hand."""

from __future__ import annotations

import pytest
import torch
from pydantic import Field
from torch import Tensor

from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate
from geotrap_cli.traps import (
    Attribute,
    BaseTrap,
    Trap,
    TrapConfig,
    attribute_of,
    normalised_weights,
    opacity_weights,
    report_depth,
    weighted_mean,
)


class HeightConfig(TrapConfig):
    factor: float = Field(1.0, description="Scales the height.")


class HeightTrap(BaseTrap[HeightConfig]):
    key = "height"
    summary = "lower the mean height"
    Config = HeightConfig

    @property
    def upper_bound(self) -> None:
        return None

    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        return self.config.factor * weighted_mean(batch.means[..., 1], weights)


def columns(heights: list[list[float]], opacities: list[list[float]]) -> GaussianBatch:
    activated = torch.zeros(len(heights), len(heights[0]), 14)
    activated[..., 1] = torch.tensor(heights)
    activated[..., CHANNELS["opacities"]] = torch.tensor(opacities)[..., None]
    return GaussianBatch(activated)


DEFENDED = columns([[0.0, -1.0], [0.0, -1.0]], [[1.0, 0.0], [0.25, 0.75]])
UNDEFENDED = columns([[1.0, 0.0], [1.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]])


def test_a_class_of_another_package_is_a_trap_by_its_shape() -> None:
    class Foreign:
        key, summary, Config, upper_bound = "foreign", "nothing", TrapConfig, 0.0

        def loss(self, batch: GaussianBatch, weights: Tensor | None = None) -> Tensor:
            return batch.opacities.mean(1)

        def depth(self, batch: object, reference: object = None, weights: object = None) -> Tensor:
            return torch.zeros(2)

    assert isinstance(Foreign(), Trap)
    assert isinstance(HeightTrap(), Trap)
    assert not isinstance(object(), Trap)


def test_configuration_reaches_the_loss() -> None:
    assert HeightTrap(HeightConfig(factor=4.0)).loss(DEFENDED).tolist() == [-2.0, -2.0]


def test_depth_is_raw_weighted_and_relative() -> None:
    trap = HeightTrap()
    assert trap.depth(DEFENDED).tolist() == [-0.5, -0.5]
    assert trap.depth(DEFENDED, weights=DEFENDED.opacities).tolist() == [0.0, -0.75]
    assert trap.depth(DEFENDED, UNDEFENDED).tolist() == [-1.0, -1.0]


def test_relative_depth_uses_one_set_of_weights_or_asks_for_each() -> None:
    trap = HeightTrap()
    assert trap.depth(DEFENDED, UNDEFENDED, DEFENDED.opacities).tolist() == [-1.0, -1.0]
    assert trap.depth(DEFENDED, UNDEFENDED, opacity_weights).tolist() == [-0.5, -1.75]


def test_depth_has_no_gradient() -> None:
    activated = DEFENDED.activated.clone().requires_grad_()
    assert HeightTrap().loss(GaussianBatch(activated)).requires_grad
    assert not HeightTrap().depth(GaussianBatch(activated)).requires_grad


def test_depth_relative_to_other_objects_is_refused() -> None:
    with pytest.raises(GeotrapError, match="2 objects are compared with 1"):
        HeightTrap().depth(DEFENDED, UNDEFENDED[0])


def test_report_holds_all_four_depths() -> None:
    report = report_depth(HeightTrap(), DEFENDED, UNDEFENDED)
    assert report.raw.tolist() == [-0.5, -0.5]
    assert report.weighted.tolist() == [0.0, -0.75]
    assert report.relative_raw is not None
    assert report.relative_raw.tolist() == [-1.0, -1.0]
    assert report.relative_weighted is not None
    assert report.relative_weighted.tolist() == [-0.5, -1.75]
    assert report_depth(HeightTrap(), DEFENDED).relative_raw is None


def test_an_invisible_object_has_no_visible_depth() -> None:
    invisible = columns([[0.0, -1.0], [0.0, -1.0]], [[0.0, 0.0], [0.25, 0.75]])
    report = report_depth(HeightTrap(), invisible)
    assert report.raw.tolist() == [-0.5, -0.5]
    assert report.weighted[0].isnan()
    assert report.weighted[1].item() == -0.75


def test_weights_add_up_to_one_whatever_their_size() -> None:
    for factor in (1e-30, 1.0, 1e30):
        weights = normalised_weights(DEFENDED, torch.tensor([[1.0, 3.0], [2.0, 0.0]]) * factor)
        torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75], [1.0, 0.0]], dtype=torch.float64))


def test_mean_of_many_float32_values_is_exact() -> None:
    values = torch.full((1, 2**20), 0.1)
    assert weighted_mean(values, None).item() == pytest.approx(values[0, 0].double().item(), rel=1e-12)


def test_an_idle_option_at_its_default_is_let_pass() -> None:
    assert HeightConfig(factor=1.0).refuse_idle(["factor"], "does nothing") is None
    with pytest.raises(ValueError, match="factor does nothing"):
        HeightConfig(factor=2.0).refuse_idle(["factor"], "does nothing")


class TestAttribute:
    @pytest.mark.parametrize("raw", [False, True])
    def test_it_is_the_named_channels_side_by_side(self, raw: bool) -> None:
        batch = activate(torch.randn(2, 3, 14, generator=torch.Generator().manual_seed(0)))
        values = batch.require_raw() if raw else batch.activated
        attribute = Attribute("opacities", "means", raw=raw)
        assert attribute.of(batch).equal(values[..., [3, 0, 1, 2]])
        assert attribute.channels == 4
        assert attribute == Attribute("opacities", "means", raw=raw) != Attribute("means", raw=raw)

    def test_quaternions_are_themselves_and_not_their_norm(self) -> None:
        batch = activate(torch.randn(1, 3, 14, generator=torch.Generator().manual_seed(0)))
        assert Attribute("quats").of(batch).equal(batch.quats)

    def test_pre_activations_have_to_be_there(self) -> None:
        with pytest.raises(GeotrapError, match="no pre-activation"):
            Attribute("means", raw=True).of(DEFENDED)

    @pytest.mark.parametrize("names", [(), ("mean",), ("means", "norm")])
    def test_other_names_are_refused(self, names: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match="means, opacities, scales, quats, rgb"):
            Attribute(*names)

    def test_a_trap_need_not_say_what_it_acts_on(self) -> None:
        assert attribute_of(HeightTrap()) is None
