"""How strongly outputs react to weights: the squared Frobenius norm of a Jacobian, S(φ) = ‖∂φ/∂θ‖²_F.

Three estimators, all of the form mean or sum of ‖Jᵀv‖² over vectors v. ``exact`` costs one backward pass per entry of φ
and is for tiny problems, ``hutchinson`` costs one per probe and is unbiased, ``sum`` costs one and measures something
else: ‖1ᵀJ‖², in which entries that react in opposite ways cancel. Never pass the norm of a unit quaternion as φ: it is
constant, so S is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from geotrap_cli.errors import GeotrapError, UsageError

Estimator = Callable[..., Tensor]


def hutchinson(
    phi: Tensor,
    parameters: Sequence[Tensor],
    *,
    probes: int = 1,
    generator: torch.Generator | None = None,
    create_graph: bool = False,
) -> Tensor:
    """Unbiased estimate of S as the mean of ‖Jᵀv‖² over random signs v (Hutchinson 1989, for the trace of JJᵀ).

    With v of independent entries ±1, E[vvᵀ] = I, so E‖Jᵀv‖² = tr(JJᵀ) = ‖J‖²_F. The estimate is unbiased for S, not for
    log S.

    Args:
        phi: Outputs of any shape, inside the autograd graph.
        parameters: Weights θ; those that φ does not depend on add zero.
        probes: Random vectors to average over.
        generator: Source of the signs, on the device of ``phi``; the global one if left out.
        create_graph: Keep the result differentiable with respect to the weights.

    Returns:
        Scalar in the precision of ``phi``, float32 at least.

    Raises:
        GeotrapError: φ depends on none of the parameters, or one of them does not require gradients.
        UsageError: Fewer than one probe.
    """
    vectors = probe_vectors("hutchinson", phi, probes, generator)
    return torch.stack([_squared_vjp(phi, parameters, vector, create_graph) for vector in vectors]).mean()


def sum_gradient(phi: Tensor, parameters: Sequence[Tensor], *, create_graph: bool = False) -> Tensor:
    """Squared norm of the gradient of Σφ, ‖1ᵀJ‖²: not S, but what some published code calls sensitivity.

    For φ = (w, -w) it is 0 where S is 2.

    Args:
        phi: Outputs of any shape, inside the autograd graph.
        parameters: Weights θ.
        create_graph: Keep the result differentiable with respect to the weights.

    Returns:
        Scalar in the precision of ``phi``, float32 at least.

    Raises:
        GeotrapError: φ depends on none of the parameters, or one of them does not require gradients.
    """
    return _squared_vjp(phi, parameters, torch.ones_like(phi), create_graph)


def exact(phi: Tensor, parameters: Sequence[Tensor], *, create_graph: bool = False) -> Tensor:
    """S itself, one row of the Jacobian at a time.

    Args:
        phi: Outputs of any shape, inside the autograd graph.
        parameters: Weights θ.
        create_graph: Keep the result differentiable with respect to the weights.

    Returns:
        Scalar in the precision of ``phi``, float32 at least.

    Raises:
        GeotrapError: φ depends on none of the parameters, or one of them does not require gradients.
    """
    vectors = probe_vectors("exact", phi)
    return torch.stack([_squared_vjp(phi, parameters, vector, create_graph) for vector in vectors]).sum()


ESTIMATORS: dict[str, Estimator] = {"hutchinson": hutchinson, "sum": sum_gradient, "exact": exact}
"""Every estimator by the name it has in a profile; only ``hutchinson`` takes ``probes`` and ``generator``."""


def estimate_with_gradient(
    name: str,
    phi: Tensor,
    parameters: Sequence[Tensor],
    trained: Sequence[Tensor],
    *,
    probes: int = 1,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """The estimate ``name`` and its gradient, one vector after the other: memory does not grow with their number.

    Args:
        name: A key of :data:`ESTIMATORS`.
        phi: Outputs of any shape, inside the autograd graph; the graph is kept.
        parameters: Weights θ of the Jacobian.
        trained: Weights that the gradient of the estimate is taken for.
        probes: Random vectors of ``hutchinson``.
        generator: Source of the signs of ``hutchinson``.

    Returns:
        The scalar estimate without a graph, and its gradient for each of ``trained``.

    Raises:
        GeotrapError: φ depends on none of the parameters, or one of them does not require gradients.
        UsageError: Fewer than one probe.
    """
    share = 1 / probes if name == "hutchinson" else 1.0
    gradients = [torch.zeros_like(weight) for weight in trained]
    values = []
    for vector in probe_vectors(name, phi, probes, generator):
        value = share * _squared_vjp(phi, parameters, vector, create_graph=True)
        values.append(value.detach())
        for total, part in zip(gradients, _gradient(value, trained), strict=True):
            if part is not None:
                total += part
    return torch.stack(values).sum(), gradients


def probe_vectors(
    name: str, phi: Tensor, probes: int = 1, generator: torch.Generator | None = None
) -> Iterator[Tensor]:
    """Yield the vectors v, in the shape of ``phi``, whose ‖Jᵀv‖² the estimator averages (hutchinson) or adds up.

    Raises:
        UsageError: Fewer than one probe.
    """
    if probes < 1:
        raise UsageError(f"the {name} estimator was given {probes} probes", hint="Use one probe or more")
    if name == "hutchinson":
        yield from (random_signs(phi, generator) for _ in range(probes))
    elif name == "sum":
        yield torch.ones_like(phi)
    else:
        for entry in range(phi.numel()):
            unit = torch.zeros_like(phi, memory_format=torch.contiguous_format)
            unit.view(-1)[entry] = 1
            yield unit


def random_signs(phi: Tensor, generator: torch.Generator | None) -> Tensor:
    """Independent signs ±1 in the shape and precision of ``phi``; ``generator`` is as for :func:`hutchinson`."""
    bits = torch.randint(0, 2, phi.shape, generator=generator, device=phi.device)
    return bits.to(phi.dtype).mul_(2).sub_(1)


def _squared_vjp(phi: Tensor, parameters: Sequence[Tensor], vector: Tensor, create_graph: bool) -> Tensor:
    """‖Jᵀv‖² over all parameters."""
    if not (parameters and phi.requires_grad and all(parameter.requires_grad for parameter in parameters)):
        raise _independent()
    gradients = torch.autograd.grad(
        phi, list(parameters), vector, retain_graph=True, create_graph=create_graph, allow_unused=True
    )
    dtype = torch.promote_types(phi.dtype, torch.float32)
    squares = [gradient.to(dtype).square().sum() for gradient in gradients if gradient is not None]
    if not squares:
        raise _independent()
    return torch.stack(squares).sum()


def _gradient(value: Tensor, trained: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not value.requires_grad:
        # φ is linear in the parameters, and no other weight is trained: its Jacobian is a constant.
        return [None] * len(trained)
    return torch.autograd.grad(value, list(trained), retain_graph=True, allow_unused=True)


def _independent() -> GeotrapError:
    return GeotrapError(
        "sensitivity: the outputs do not depend on the given parameters, or some of them are frozen",
        hint="Give parameters that require gradients, and outputs computed from them outside torch.no_grad()",
    )
