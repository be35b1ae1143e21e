"""MLAC: no few steps of fine-tuning, not even with the best linear head, decode the target."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from geotrap_cli.data.batch import ViewBatch
from geotrap_cli.defenses import Defense, DefenseConfig, LossTerms
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.lgm.attention import twice_differentiable
from geotrap_cli.profile.base import Count
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.loop import Metrics
from geotrap_cli.training.robust.streams import Stream
from geotrap_defenses._features import Head, find_head, watch
from geotrap_defenses._mix import backward, capped, mixed
from geotrap_defenses._search import DECADES, LEARNING_RATE

Weights = dict[str, Tensor]
LEAST_SCORE = 1e-6
"""ε, what a score of zero counts as under the logarithm."""


class MlacConfig(DefenseConfig):
    """Options of MLAC."""

    weight: float = Field(default=10.0, gt=0, description="Weight of the censored score beside the distillation.")
    cap: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="Score from which on nothing pushes (share of the variance that is not decoded).",
    )
    inner_steps: Count = Field(default=2, description="Length of the simulated attack, K (its gradient steps).")
    lr: float = Field(default=1e-2, gt=0, description="Its learning rate, plain gradient descent.")
    second_order: bool = Field(
        default=True, description="Differentiate through the attack; false: what it adds is constant."
    )
    head: Head = None
    samples: int = Field(default=2048, ge=2, description="Random pixels on which it is fitted (pixels).")
    ridge: float = Field(default=1e-3, gt=0, description="Ridge penalty, as a share of the features' mean variance.")


class MlacDefense(Defense):
    """p·K_distill − (1 − p)·w·mean_k log(L_b(φ_k(θ)) + ε), φ_0 = θ, φ_{k+1} = φ_k − a·∇L_in(φ_k; D_H), k = 1 … K.

    L_in is the mean squared distance of the raw channels of target objects to those of the undefended generator: what
    an attacker at best restores, and, unlike a rendering, twice differentiable. Before φ_k is scored the head is fitted
    anew to them by ridge regression, so that an output that is wrong but decodable earns nothing: the score is the
    share of their variance that no linear head decodes, bounded by ``cap``. The fitted head is constant for the
    gradient, which is exact in the limit of a small ridge only: the score leaves the penalty out.

    Source: MLAC (Henderson et al. 2023, arXiv 2211.14946), whose adversary also learns its learning rate; raw channels
    as the inner loss are our inference. The logarithm is our deviation: at θ_0 the attacker has nothing to restore and
    its own head decodes everything, so that the score itself is at its least there, without a gradient, and K_distill
    alone would move the weights. As in RepNoise, the gradient of the logarithm grows as 1/s instead.
    """

    key: ClassVar[str] = "mlac"
    summary: ClassVar[str] = "target not decodable after simulated fine-tuning, by second order"
    source: ClassVar[str] = "MLAC, self-destructing models (Henderson et al. 2023, arXiv 2211.14946)"
    assumes: ClassVar[str] = "an attacker near plain gradient descent who may refit the head"
    cost: ClassVar[str] = "2 K gradients, K of them differentiated again, and 1"
    Config: ClassVar[type[DefenseConfig]] = MlacConfig
    config: MlacConfig
    owns_step: ClassVar[bool] = True
    renders_target: ClassVar[bool] = False
    shows: ClassVar[tuple[str, ...]] = ("undecoded",)
    search: ClassVar[Mapping[str, Range]] = {"weight": DECADES, "lr": DECADES, **LEARNING_RATE}

    def prepare(self, context: DefenseContext) -> None:
        """Find the head.

        Raises:
            UsageError: There is no such module, or it is no convolution.
        """
        super().prepare(context)
        self.head = find_head(context.model, self.config.head, "defense.mlac.head")
        if not isinstance(context.model.get_submodule(self.head), torch.nn.Conv2d):
            raise UsageError(f"defense.mlac.head: {self.head} is no convolution", "Name the last one")

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes; one that is differentiated again counts once more."""
        return 1.0 + (3 if self.config.second_order else 2) * self.config.inner_steps

    @property
    def second_order(self) -> bool:
        """Whether it differentiates its simulated steps."""
        return self.config.second_order

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Set the gradients of a step."""
        with self._second_order():
            scores = torch.stack(list(self.scores(target, step)))
            own = -self.config.weight * (capped(scores, self.config.cap) + LEAST_SCORE).log().mean()
            terms: LossTerms = mixed(context.share, context.retained(source), own, {"undecoded": scores.mean()})
            return backward(terms)

    def scores(self, target: ViewBatch, step: int) -> Iterator[Tensor]:
        """Yield the score after each step of the attack, with a graph to the trained parameters."""
        weights: Weights = dict(self.context.model.named_parameters())
        taught = self.context.taught(target.images)
        for _ in range(self.config.inner_steps):
            weights = self._descended(weights, self.inner_loss(target, taught, weights))
            yield self.score(target, taught, weights, step)

    def inner_loss(self, target: ViewBatch, taught: GaussianBatch, weights: Mapping[str, Tensor]) -> Tensor:
        """Return L_in, a scalar."""
        return F.mse_loss(self.context.gaussians(target.images, weights).require_raw(), taught.require_raw())

    def score(self, target: ViewBatch, taught: GaussianBatch, weights: Mapping[str, Tensor], step: int) -> Tensor:
        """Return the share of the variance of the undefended raw channels that no linear head decodes, a scalar."""
        context, head = self.context, self.head
        with watch(context.model, [head], inputs=True) as features:
            context.gaussians(target.images, weights)
        seen = features.by_name[head]
        kernel = context.model.get_submodule(head).kernel_size[0]  # type: ignore[index,union-attr]
        random = context.generator(step, Stream.DEFENSE_SAMPLES)
        count = seen.shape[0] * seen.shape[2] * seen.shape[3]
        chosen = torch.randperm(count, generator=random, device=seen.device)[: self.config.samples]
        rows = patches(seen, kernel, chosen)
        return undecoded(rows.double(), cells(taught, count)[chosen].double(), self.config.ridge).float()

    def _descended(self, weights: Weights, loss: Tensor) -> Weights:
        second = self.config.second_order
        moving = {name: value for name, value in weights.items() if value.requires_grad}
        found = torch.autograd.grad(loss, list(moving.values()), create_graph=second, materialize_grads=True)
        steps = {name: self.config.lr * gradient for name, gradient in zip(moving, found, strict=True)}
        return weights | {name: moving[name] - step for name, step in steps.items()}

    def _second_order(self) -> AbstractContextManager[None]:
        return twice_differentiable() if self.config.second_order else contextlib.nullcontext()


def patches(features: Tensor, kernel: int, chosen: Tensor) -> Tensor:
    """Return the patches around chosen pixels of ``[B·V, C, H, W]``, counted view by view, as rows ``[n, k·k·C]``."""
    height, width = features.shape[2:]
    padded = F.pad(features, (kernel // 2,) * 4)
    reach = torch.arange(kernel, device=features.device)
    view, row, column = chosen // (height * width), chosen // width % height, chosen % width
    rows, columns = row[:, None, None] + reach[None, :, None], column[:, None, None] + reach[None, None, :]
    return padded[view[:, None, None], :, rows, columns].flatten(1)


def cells(gaussians: GaussianBatch, count: int) -> Tensor:
    """Return raw channels by cell of the grid, views in order, ``[count, 14]``: a Gaussian a cell.

    Raises:
        UsageError: There are not as many Gaussians as the head has cells.
    """
    raw = gaussians.require_raw().flatten(0, 1)
    if len(raw) != count:
        what = f"defense.mlac.head: it sees {count} cells and the generator gives {len(raw)} Gaussians"
        raise UsageError(what, "Name the last convolution at the resolution of the Gaussians")
    return raw


def undecoded(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
    """Return 1 − R² of the ridge regression of ``targets`` [n, T] on ``features`` [n, F], a scalar in [0, 1].

    The coefficients are constant for the gradient. Targets that do not vary are decoded by the intercept: zero. NaN
    where features or targets hold a NaN or an infinity, for which the solver itself would raise.
    """
    x, y = features - features.mean(dim=0), targets - targets.mean(dim=0)
    nan_or_zero = (x * 0).sum() + (y * 0).sum()
    if nan_or_zero.isnan():
        return nan_or_zero
    with torch.no_grad():
        moments = x.mT @ x
        penalty = ridge * moments.diagonal().mean() * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        coefficients = torch.linalg.lstsq((moments + penalty).cpu(), (x.mT @ y).cpu(), driver="gelsd").solution.to(x)
    variance = y.square().sum()
    residual = (x @ coefficients - y).square().sum()
    return residual / variance.clamp(min=torch.finfo(y.dtype).tiny)
