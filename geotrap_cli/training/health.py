"""Whether an attack ran into something: dead gradients, saturated activations, a loss that does not fall."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.models.divided import whole

#: A splat whose opacity is below this draws nothing and gets no gradient from any rendering loss.
CULLED_OPACITY = 1.0 / 255.0
#: Shares of the run over which the first and the last loss are averaged.
EDGE_SHARE = 0.1


class HealthRecorder:
    """Collects what :class:`~geotrap_cli.evaluation.validity.AttackHealth` reports, step by step."""

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._zero_shares: list[float] = []
        self._saturated: list[float] = []

    def state(self) -> dict[str, list[float]]:
        """Return what was seen so far, for a checkpoint."""
        return {"losses": self._losses, "zero_shares": self._zero_shares, "saturated": self._saturated}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Go on from what ``state`` returned."""
        self._losses, self._zero_shares = list(state["losses"]), list(state["zero_shares"])
        self._saturated = list(state["saturated"])

    def see_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Take in the gradients of one step, before clipping; a missing gradient counts as zero."""
        zeros, total = 0, 0
        for parameter in parameters:
            total += parameter.numel()
            dead = parameter.numel() if parameter.grad is None else int(whole((parameter.grad == 0).sum()))
            zeros += dead
        self._zero_shares.append(zeros / max(1, total))

    def see_gaussians(self, batch: GaussianBatch, average: Callable[[float], float] = float) -> None:
        """Take in the Gaussians of one step; ``average`` is taken over the processes that share its batch."""
        self._saturated.append(average(saturated_share(batch)))

    @property
    def steps(self) -> int:
        """Steps that were seen, of every phase."""
        return len(self._saturated)

    def see_loss(self, loss: float) -> None:
        """Take in the total loss of one step."""
        self._losses.append(loss)

    def edges(self) -> tuple[float | None, float | None]:
        """Return the mean loss of the first and of the last tenth of the steps, None where nothing was seen."""
        if not self._losses:
            return None, None
        width = max(1, int(len(self._losses) * EDGE_SHARE))
        return sum(self._losses[:width]) / width, sum(self._losses[-width:]) / width

    def report(self) -> AttackHealth:
        """Return the record: shares as their mean over the steps, None for what was not seen."""
        first, last = self.edges()
        return AttackHealth(
            zero_gradient_share=_mean(self._zero_shares),
            saturated_share=_mean(self._saturated),
            nonfinite=0 if self._losses else None,
            loss_decreased=None if first is None or last is None else last < first,
        )


def saturated_share(batch: GaussianBatch) -> float:
    """Return the share of Gaussians that no rendering loss can move.

    A Gaussian counts when its opacity is below the renderer's cut-off, or when all three of its coordinates lie
    outside the clamp to [-1, 1], whose slope there is zero, where its generator clamps.
    """
    raw = batch.require_raw().detach()
    outside = (raw[..., CHANNELS["means"]].abs() >= 1.0).all(dim=-1) & (batch.activations.means == "clamp")
    return float((outside | (batch.opacities.detach() < CULLED_OPACITY)).float().mean())


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
