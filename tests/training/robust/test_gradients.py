"""What happens to the traps' gradient before the retention's is added."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geotrap_cli.errors import UsageError
from geotrap_cli.training.defense_objective import RETAIN_TOTAL, TRAP_TOTAL, DefenseObjective
from geotrap_cli.training.robust.energy_cap import EnergyCap
from geotrap_cli.training.robust.gradients import backward_apart
from geotrap_cli.training.robust.pcgrad import ProjectConflict

Make = Callable[..., DefenseObjective]
SEEDS = st.integers(0, 10_000)


def draw(seed: int) -> list[Tensor]:
    """Gradients of four tensors that differ widely in size."""
    generator = torch.Generator().manual_seed(seed)
    return [
        10.0 ** (i - 2) * torch.randn(shape, generator=generator) for i, shape in enumerate(((2, 3), (4,), (), (5,)))
    ]


def energies(gradients: list[Tensor]) -> list[float]:
    return [float(gradient.double().square().sum()) for gradient in gradients]


class TestEnergyCap:
    def test_known_answer(self) -> None:
        # Energies 16, 0, 4, 4: mean 6, limit 9; the first is scaled by 3/4.
        trap = [torch.tensor([4.0, 0.0]), torch.zeros(3), torch.tensor([2.0]), torch.tensor(-2.0)]
        treated = EnergyCap(1.5, 4)(trap, [])
        assert treated.gradients[0].tolist() == [3.0, 0.0]
        assert all(mine.equal(before) for mine, before in zip(treated.gradients[1:], trap[1:], strict=True))
        assert treated.metrics == {"energy_capped": 0.25}

    @given(seed=SEEDS, kappa=st.floats(0.05, 3.9))
    @settings(max_examples=50, deadline=None)
    def test_no_tensor_exceeds_the_limit_and_none_turns(self, seed: int, kappa: float) -> None:
        trap = draw(seed)
        limit = kappa * sum(energies(trap)) / 4
        treated = EnergyCap(kappa, 4)(trap, []).gradients
        for before, after, energy in zip(trap, treated, energies(trap), strict=True):
            expected = min(1.0, math.sqrt(limit / energy))
            assert torch.allclose(after, expected * before, rtol=1e-5)
            assert energies([after])[0] <= limit * (1 + 1e-5)

    def test_zero_gradients_stay_zero(self) -> None:
        treated = EnergyCap(1.0, 2)([torch.zeros(2), torch.zeros(3)], [])
        assert energies(treated.gradients) == [0.0, 0.0]
        assert treated.metrics == {"energy_capped": 0.0}

    def test_nan_is_not_hidden(self) -> None:
        treated = EnergyCap(1.0, 2)([torch.tensor([float("nan")]), torch.ones(3)], [])
        assert treated.gradients[0].isnan().all()

    def test_a_cap_that_no_tensor_can_reach_is_refused(self, make_objective: Make) -> None:
        with pytest.raises(UsageError, match=r"robust\.energy_cap = 4 never acts: 4 tensors"):
            EnergyCap(4.0, 4)
        with pytest.raises(UsageError, match="never acts: 2 tensors are trained"):
            make_objective("robust.energy_cap=2.5", "layers.units=unet.conv_in")


class TestProjection:
    def test_known_answer(self) -> None:
        treated = ProjectConflict()([torch.tensor([-3.0]), torch.tensor([4.0])], [torch.tensor([2.0]), torch.zeros(1)])
        assert [part.tolist() for part in treated.gradients] == [[0.0], [4.0]]
        assert treated.metrics["pcgrad_removed"] == pytest.approx(3 / 5)

    @given(seeds=st.tuples(SEEDS, SEEDS))
    @settings(max_examples=50, deadline=None)
    def test_nothing_points_against_the_retention_any_more(self, seeds: tuple[int, int]) -> None:
        trap, retain = draw(seeds[0]), draw(seeds[1])
        joined = [torch.cat([part.double().flatten() for part in parts]) for parts in (trap, retain)]
        treated = ProjectConflict()(trap, retain)
        after = torch.cat([part.double().flatten() for part in treated.gradients])
        cosine = float(joined[0] @ joined[1] / (joined[0].norm() * joined[1].norm()))
        assert treated.metrics["pcgrad_removed"] == pytest.approx(max(0.0, -cosine), abs=1e-6)
        if cosine >= 0:
            assert after.equal(joined[0])
        else:
            assert abs(float(after @ joined[1])) < 1e-4 * joined[0].norm() * joined[1].norm()
            expected = joined[0] - (joined[0] @ joined[1]) / (joined[1] @ joined[1]) * joined[1]
            assert torch.allclose(after, expected, atol=1e-4 * float(joined[0].norm()))

    @pytest.mark.parametrize("zero", ["trap", "retain"])
    def test_a_gradient_of_zero_changes_nothing(self, zero: str) -> None:
        ones, nothing = [torch.ones(2)], [torch.zeros(2)]
        trap, retain = (nothing, ones) if zero == "trap" else (ones, nothing)
        treated = ProjectConflict()(trap, retain)
        assert treated.gradients[0].equal(trap[0])
        assert treated.metrics == {"pcgrad_removed": 0.0}


def test_without_treatment_the_halves_add_up_to_the_whole() -> None:
    layer, unused = nn.Linear(3, 2), nn.Parameter(torch.ones(2))
    x, y = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    parameters = [*layer.parameters(), unused]
    assert backward_apart(layer(x).square().mean(), layer(y).abs().mean(), parameters, ()) == {}
    apart = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
    assert apart[2].tolist() == [0.0, 0.0]
    layer.zero_grad()
    (layer(x).square().mean() + layer(y).abs().mean()).backward()
    assert all(torch.allclose(mine, other.grad) for mine, other in zip(apart, layer.parameters(), strict=False))


def test_a_step_treats_the_traps_and_never_the_retention(make_objective: Make) -> None:
    objective = make_objective("robust.energy_cap=0.5", "robust.pcgrad=true", "retain.weight=30.0")
    trained = [parameter for parameter in objective.model.parameters() if parameter.requires_grad]
    terms = objective(0)
    assert terms["total"].item() == pytest.approx((terms[TRAP_TOTAL] + terms[RETAIN_TOTAL]).item())
    trap, retain = (
        torch.autograd.grad(terms[name], trained, retain_graph=True, materialize_grads=True)
        for name in (TRAP_TOTAL, RETAIN_TOTAL)
    )
    metrics = objective.backward(terms)
    capped = EnergyCap(0.5, len(trained))(trap, retain)
    projected = ProjectConflict()(capped.gradients, retain)
    for parameter, mine, others in zip(trained, projected.gradients, retain, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, mine + others, atol=1e-6)
    assert metrics == pytest.approx({**capped.metrics, **projected.metrics})
    assert 0 < metrics["energy_capped"] < 1


def test_treated_gradients_are_those_of_the_plain_total_where_nothing_is_treated(make_objective: Make) -> None:
    plain, apart = make_objective(), make_objective("robust.energy_cap=100.0")
    plain.backward(plain(0))
    metrics = apart.backward(apart(0))
    assert metrics == {"energy_capped": 0.0}
    for mine, other in zip(apart.model.parameters(), plain.model.parameters(), strict=True):
        if other.grad is not None:
            assert mine.grad is not None
            assert torch.allclose(mine.grad, other.grad, rtol=1e-3, atol=1e-4)
