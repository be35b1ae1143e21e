from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.sensitivity.estimators import ESTIMATORS, estimate_with_gradient, exact, hutchinson, sum_gradient


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def jacobian(net: nn.Module, inputs: Tensor) -> Tensor:
    """The explicit Jacobian [outputs, parameters], by another route: forward-mode columns."""
    names = [name for name, _ in net.named_parameters()]

    def outputs(*values: Tensor) -> Tensor:
        return torch.func.functional_call(net, dict(zip(names, values, strict=True)), inputs).flatten()

    parts = torch.func.jacfwd(outputs, argnums=tuple(range(len(names))))(*(p.detach() for p in net.parameters()))
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def test_exact_is_the_squared_norm_of_the_jacobian(net: nn.Module, inputs: Tensor) -> None:
    torch.testing.assert_close(exact(net(inputs), list(net.parameters())), jacobian(net, inputs).square().sum())


def test_sum_is_the_squared_norm_of_the_summed_rows(net: nn.Module, inputs: Tensor) -> None:
    expected = jacobian(net, inputs).sum(0).square().sum()
    torch.testing.assert_close(sum_gradient(net(inputs), list(net.parameters())), expected)


def test_one_probe_is_the_squared_norm_of_one_product(net: nn.Module, inputs: Tensor) -> None:
    signs = torch.randint(0, 2, (2, 4), generator=torch.Generator().manual_seed(4)).double() * 2 - 1
    expected = (signs.flatten() @ jacobian(net, inputs)).square().sum()
    estimate = hutchinson(net(inputs), list(net.parameters()), generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(estimate, expected)


def test_hutchinson_is_unbiased_within_its_standard_error(net: nn.Module, inputs: Tensor) -> None:
    phi, parameters, generator = net(inputs), list(net.parameters()), torch.Generator().manual_seed(2)
    draws = torch.stack([hutchinson(phi, parameters, generator=generator) for _ in range(800)])
    error = draws.std() / len(draws) ** 0.5
    truth = exact(phi, parameters)
    assert error < 0.05 * truth, "the check has power"
    assert (draws.mean() - truth).abs() < 3.5 * error
    assert (sum_gradient(phi, parameters) - truth).abs() > 10 * error, "the sum of outputs is another quantity"


def test_more_probes_are_their_mean(net: nn.Module, inputs: Tensor) -> None:
    phi, parameters, generator = net(inputs), list(net.parameters()), torch.Generator().manual_seed(3)
    single = torch.stack([hutchinson(phi, parameters, generator=generator) for _ in range(6)])
    together = hutchinson(phi, parameters, probes=6, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(together, single.mean())


def test_opposite_outputs_cancel_in_the_sum_only() -> None:
    weight = torch.tensor(0.7, requires_grad=True)
    phi = torch.stack([weight, -weight])
    assert exact(phi, [weight]).item() == 2
    assert sum_gradient(phi, [weight]).item() == 0
    draws = [hutchinson(phi, [weight], generator=torch.Generator().manual_seed(seed)).item() for seed in range(20)]
    assert set(draws) == {0.0, 4.0}, "(v1 - v2)² has mean 2"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_estimate_can_be_differentiated(name: str, net: nn.Module, inputs: Tensor) -> None:
    first = next(net.parameters())

    def estimate(weight: Tensor) -> Tensor:
        phi = torch.func.functional_call(net, {"0.weight": weight}, inputs)
        options = {"generator": torch.Generator().manual_seed(6)} if name == "hutchinson" else {}
        return ESTIMATORS[name](phi, [weight, net[2].weight], create_graph=True, **options)

    assert torch.autograd.gradcheck(estimate, (first.detach().clone().requires_grad_(),))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_without_a_graph_the_estimate_is_a_plain_number(name: str, net: nn.Module, inputs: Tensor) -> None:
    phi = net(inputs)
    assert not ESTIMATORS[name](phi, list(net.parameters())).requires_grad
    phi.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters()), "the graph is still there"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_parameters_out_of_reach_add_nothing_and_none_in_reach_is_told(
    name: str, net: nn.Module, inputs: Tensor
) -> None:
    stranger = torch.ones(3, requires_grad=True)
    phi, parameters = net(inputs), list(net.parameters())
    torch.manual_seed(0)
    alone = ESTIMATORS[name](phi, parameters)
    torch.manual_seed(0)
    torch.testing.assert_close(ESTIMATORS[name](phi, [*parameters, stranger]), alone)
    for outputs, given in ((phi, [stranger]), (phi, []), (phi.detach(), parameters), (phi, [parameters[0], inputs])):
        with pytest.raises(GeotrapError, match="do not depend"):
            ESTIMATORS[name](outputs, given)


def test_half_precision_is_squared_in_float32() -> None:
    weight = torch.tensor(300.0, dtype=torch.float16, requires_grad=True)
    phi = (weight * 300)[None]
    assert exact(phi, [weight]).item() == 90_000


@pytest.mark.parametrize(("name", "options"), [("hutchinson", {"probes": 3}), ("sum", {}), ("exact", {})])
def test_taking_vectors_one_by_one_gives_the_same_gradient(
    name: str, options: dict[str, int], net: nn.Module, inputs: Tensor
) -> None:
    phi, parameters = net(inputs), list(net.parameters())
    seeded = {"generator": torch.Generator().manual_seed(8)} if options else {}
    value = ESTIMATORS[name](phi, parameters[:2], create_graph=True, **options, **seeded)
    expected = torch.autograd.grad(value, parameters[1:], retain_graph=True, allow_unused=True)
    generator = torch.Generator().manual_seed(8)
    found, gradients = estimate_with_gradient(name, phi, parameters[:2], parameters[1:], **options, generator=generator)
    torch.testing.assert_close(found, value.detach())
    assert not found.requires_grad
    assert expected[-1] is None, "the last bias shifts the outputs and reacts to nothing"
    for gradient, part, parameter in zip(gradients, expected, parameters[1:], strict=True):
        torch.testing.assert_close(gradient, torch.zeros_like(parameter) if part is None else part)


@pytest.mark.parametrize("probes", [0, -1])
def test_no_probes_are_refused(probes: int) -> None:
    with pytest.raises(UsageError, match="probes"):
        hutchinson(torch.ones(1, requires_grad=True) * 2, [], probes=probes)


def test_agrees_with_curvlinops(net: nn.Module, inputs: Tensor) -> None:
    curvlinops = pytest.importorskip("curvlinops")
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    operator = curvlinops.JacobianLinearOperator(net, parameters, [(inputs, torch.zeros(2, 4).double())])
    columns = operator @ torch.eye(operator.shape[1], dtype=torch.float64)
    torch.testing.assert_close(exact(net(inputs), parameters), columns.square().sum())
