from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from geotrap_cli.aggregation import METHODS
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.profile import LoadedProfile, Profile
from geotrap_cli.training.trap_set import TrapSet, load_trap

Load = Callable[..., LoadedProfile]
Make = Callable[..., GaussianBatch]


def test_traps_come_with_their_weights_and_options(load_mini: Load) -> None:
    traps = TrapSet.from_profile(
        load_mini("traps.position.weight=2.5", "traps.opacity.mode=linear", "traps.scale.weight=1.0").profile
    )
    assert list(traps.traps) == ["position", "opacity", "scale"]
    assert traps.weights == {"position": 2.5, "opacity": 1.0, "scale": 1.0}
    assert traps.traps["opacity"].config.mode == "linear"  # type: ignore[attr-defined]


def test_losses_are_those_of_the_traps_per_object(load_mini: Load, random_batch: Make) -> None:
    traps, batch = TrapSet.from_profile(load_mini().profile), random_batch(objects=3)
    losses = traps.losses(batch)
    assert losses.keys() == {"position", "opacity"}
    for key, loss in losses.items():
        assert loss.shape == (3,)
        assert torch.equal(loss, load_trap(key, load_mini().profile.traps[key].options).loss(batch))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_aggregation_and_its_temperature_act(load_mini: Load, random_batch: Make, method: str) -> None:
    def joined(*overrides: str) -> torch.Tensor:
        traps = TrapSet.from_profile(load_mini(f"aggregation.method={method}", *overrides).profile)
        return traps.aggregate(traps.losses(random_batch()))

    plain = joined()
    assert plain.shape == (2,)
    assert not torch.allclose(plain, joined("traps.opacity.weight=0.5"))
    if "temperature" in METHODS[method].options:
        assert not torch.allclose(plain, joined("aggregation.temperature=2.0"))


def test_mean_of_weighted_losses(load_mini: Load, random_batch: Make) -> None:
    traps = TrapSet.from_profile(load_mini("aggregation.method=sum", "traps.position.weight=2.0").profile)
    losses = traps.losses(random_batch())
    assert torch.allclose(traps.aggregate(losses), 2 * losses["position"] + losses["opacity"])


def test_a_profile_without_traps_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no \[traps\.KEY\] table"):
        TrapSet.from_profile(Profile())


def test_methods_that_need_a_bound_refuse_traps_without(load_mini: Load) -> None:
    with pytest.raises(UsageError, match="bounded above"):
        load_mini("aggregation.method=product", "traps.opacity.mode=logit")


def test_unknown_trap() -> None:
    with pytest.raises(UsageError, match=r"unknown trap 'positoin'.*Did you mean 'position'"):
        load_trap("positoin")


def test_depths(load_mini: Load, random_batch: Make) -> None:
    traps = TrapSet.from_profile(load_mini().profile)
    batch, reference = random_batch(seed=0), random_batch(seed=1)
    depths: dict[str, dict[str, Any]] = traps.depths(batch, reference)
    for key, trap in traps.traps.items():
        assert torch.allclose(depths[key]["raw"], trap.depth(batch))
        assert torch.allclose(depths[key]["relative"], trap.depth(batch) - trap.depth(reference))
        assert depths[key]["weighted"].shape == (2,)
