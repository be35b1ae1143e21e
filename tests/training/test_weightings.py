"""What counts in a trap: what is opaque, or what can be seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from geotrap_cli.cameras import circle_cameras
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.render import render_premultiplied
from geotrap_cli.training import weightings
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.weightings import contribution_weights, trap_weights

Cloud = Callable[..., GaussianBatch]


def cloud(means: list[list[float]], opacities: list[float], scale: float = 0.05) -> GaussianBatch:
    activated = torch.zeros(1, len(means), 14)
    activated[..., CHANNELS["means"]] = torch.tensor(means)
    activated[..., CHANNELS["opacities"]] = torch.tensor(opacities)[:, None]
    activated[..., CHANNELS["scales"]] = scale
    activated[..., CHANNELS["quats"]] = torch.tensor([1.0, 0, 0, 0])
    activated[..., CHANNELS["rgb"]] = 0.5
    return GaussianBatch(activated)


def test_contributions_add_up_to_the_rendered_alpha(random_batch: Cloud) -> None:
    batch = random_batch(objects=2)
    _, alpha = render_premultiplied(batch, circle_cameras(weightings.VIEWS, weightings.SIDE, 0.0, torch.device("cpu")))
    assert contribution_weights(batch).sum(dim=1).tolist() == pytest.approx(alpha.sum(dim=(1, 2, 3)).tolist(), rel=1e-4)


def test_what_is_hidden_counts_less_than_what_hides_it() -> None:
    middle = [0.0, 0.0, 0.0]
    around = [[0.4, 0.0, 0.0], [-0.4, 0.0, 0.0], [0.0, 0.0, 0.4], [0.0, 0.0, -0.4]]
    alone = contribution_weights(cloud([middle], [0.9]))[0, 0]
    hidden, *others = contribution_weights(cloud([middle, *around], [0.9] + 4 * [0.95]))[0].tolist()
    assert 0 < hidden < 0.4 * alone.item()
    assert min(others) > 2 * hidden


def test_what_is_culled_or_out_of_sight_does_not_count() -> None:
    weights = contribution_weights(cloud([[0.0] * 3, [0.0] * 3, [0.0, 9.0, 0.0]], [0.5, 1e-3, 0.9]))
    assert weights[0, 0] > 0
    assert weights[0, 1:].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ["opacity", "contribution"])
def test_weights_are_constants_that_no_outer_setting_changes(random_batch: Cloud, name: str) -> None:
    batch = random_batch()
    activated = batch.activated.clone().requires_grad_()
    weights = trap_weights(name, GaussianBatch(activated))  # type: ignore[arg-type]
    assert weights is not None and not weights.requires_grad
    with torch.no_grad():
        again = trap_weights(name, batch)  # type: ignore[arg-type]
    assert again is not None and torch.equal(weights, again)


@pytest.mark.parametrize("name", ["opacity", "contribution"])
def test_where_nothing_is_seen_all_count_the_same(name: str) -> None:
    assert trap_weights(name, cloud([[0.0] * 3] * 3, [0.0] * 3)).tolist() == [[1.0, 1.0, 1.0]]  # type: ignore[arg-type, union-attr]


def test_a_nan_is_not_taken_for_nothing() -> None:
    broken = cloud([[0.0] * 3, [float("nan"), 0.0, 0.0]], [0.5, float("nan")])
    assert trap_weights("opacity", broken).isnan().any()  # type: ignore[union-attr]
    with pytest.raises(NonFiniteError):
        trap_weights("contribution", broken)


@pytest.mark.parametrize("name", ["equal", "opacity", "contribution"])
def test_each_trap_is_trained_under_its_own_weighting(
    load_mini: Callable[..., LoadedProfile], random_batch: Cloud, name: str
) -> None:
    traps = TrapSet.from_profile(load_mini(f"traps.position.weighting={name}").profile)
    batch = random_batch()
    losses = traps.losses(batch)
    for key, weighting in (("position", name), ("opacity", "equal")):
        expected = traps.traps[key].loss(batch, trap_weights(weighting, batch))  # type: ignore[arg-type]
        assert torch.equal(losses[key], expected)
    if name != "equal":
        assert not torch.allclose(losses["position"], traps.traps["position"].loss(batch))


def test_weighted_by_opacity_the_trap_leaves_alone_what_is_transparent(load_mini: Callable[..., LoadedProfile]) -> None:
    traps = TrapSet.from_profile(load_mini("traps.opacity.weighting=opacity").profile)
    activated = cloud([[0.0] * 3, [0.1] * 3, [-0.1] * 3], [0.9, 0.9, 0.0]).activated.requires_grad_()
    traps.losses(GaussianBatch(activated))["opacity"].sum().backward()
    assert activated.grad is not None
    gradient = activated.grad[0, :, CHANNELS["opacities"]].flatten()
    assert (gradient[:2] > 0).all()
    assert gradient[2] == 0
