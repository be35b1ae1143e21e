"""Muon: momentum whose singular values are made equal, for the weight matrices of a network trained from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from geotrap_cli.models.divided import part_like, whole

#: Odd polynomial a·x + b·x³ + c·x⁵ whose repetition drives every singular value in (0, 1] towards 1 (Jordan 2024).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


class Muon(torch.optim.AdamW):
    """Muon for matrices, AdamW for all other parameters, as one optimizer.

    A matrix moves along the nearest semi-orthogonal matrix of its Nesterov momentum, so that rare directions of the
    gradient count as much as frequent ones; a convolution is the matrix [out, in · height · width]. Source: Jordan et
    al. 2024, "Muon: an optimizer for hidden layers in neural networks". ``torch.optim.Muon`` takes no convolutions.

    Args:
        matrices: Weights of two dimensions or more, of inner layers.
        others: All other parameters.
        matrix_lr: Learning rate of the matrices: the spectral norm of one step.
        momentum: Decay of their momentum.
        lr: Learning rate of AdamW.
        betas: Its decay rates.
        weight_decay: Decoupled weight decay of both, times the learning rate.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        others: Iterable[nn.Parameter],
        *,
        matrix_lr: float,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(others)},
            {"params": list(matrices), "lr": matrix_lr, "momentum": momentum},
        ]
        super().__init__(groups, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move all parameters that have a gradient; the matrices' gradients are used up."""
        for group in self.param_groups:
            if "momentum" in group:
                self._move_matrices(group)
        return super().step(closure)  # passes over parameters without a gradient

    def _move_matrices(self, group: dict[str, Any]) -> None:
        rate, momentum = group["lr"], group["momentum"]
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                # AdamW expects a step in every state that is loaded.
                state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(parameter)
            state["step"] += 1
            state["momentum"].lerp_(parameter.grad, 1 - momentum)
            # Singular values are those of a whole matrix: where weights are divided, every process moves all of it.
            nesterov = whole(parameter.grad.lerp(state["momentum"], momentum))
            direction = orthogonalised(nesterov.flatten(1))
            rows, columns = direction.shape
            parameter.mul_(1 - rate * group["weight_decay"])
            step = part_like(parameter, direction.view_as(nesterov))
            parameter.add_(step, alpha=-rate * max(1.0, rows / columns) ** 0.5)
            parameter.grad = None


def orthogonalised(matrix: Tensor, rounds: int = ROUNDS) -> Tensor:
    """The matrix [M, N] with its singular values brought near 1, by Newton-Schulz rounds; zero stays zero."""
    a, b, c = COEFFICIENTS
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.mT
    x = x / x.norm().clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).contiguous()
