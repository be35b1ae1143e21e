"""What a trap is: a loss on Gaussians alone, minimised on target data, that drives them into a degenerate state.

A trap never renders. It reads a :class:`~geotrap_cli.gaussians.GaussianBatch` and gives one number per object; the more
negative the number, the deeper the trap. A trap that only invisible Gaussians satisfy costs an attacker nothing, so
every trap takes per-Gaussian weights, and :func:`report_depth` gives every depth twice: raw and opacity-weighted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from geotrap_cli.errors import GeotrapError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.profile.base import PluginConfig

Weighting = Callable[[GaussianBatch], Tensor]
"""Gives the weights [B, N] of a batch, e.g. :func:`opacity_weights`."""


@dataclass(frozen=True)
class Attribute:
    """What a trap acts on, and so what ``[traps.KEY.dynamic]`` measures the sensitivity of.

    Args:
        *names: Keys of :data:`~geotrap_cli.gaussians.CHANNELS`, one at least.
        raw: Whether it is their values before the activation.

    Raises:
        ValueError: There is no name, or one that is no attribute.
    """

    names: tuple[str, ...]
    raw: bool

    def __init__(self, *names: str, raw: bool = False) -> None:
        if not names or not set(names) <= set(CHANNELS):
            raise ValueError(f"an attribute is one or more of {', '.join(CHANNELS)}, not {', '.join(names) or 'none'}")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "raw", raw)

    @property
    def channels(self) -> int:
        """Numbers of each Gaussian, C."""
        return sum(CHANNELS[name].stop - CHANNELS[name].start for name in self.names)

    def of(self, batch: GaussianBatch) -> Tensor:
        """Return its values [B, N, C]; unit quaternions stay four numbers each, as their norm is constant.

        Raises:
            GeotrapError: Values before the activation are asked for, and the batch has none.
        """
        values = batch.require_raw() if self.raw else batch.activated
        return torch.cat([values[..., CHANNELS[name]] for name in self.names], dim=-1)


class TrapConfig(PluginConfig):
    """Base of a trap's options: frozen, unknown fields refused."""


ConfigT = TypeVar("ConfigT", bound=TrapConfig)


@runtime_checkable
class Trap(Protocol):
    """The interface the core calls; :class:`BaseTrap` gives most of it."""

    key: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[Any]

    @property
    def upper_bound(self) -> float | None:
        """The largest value the loss can take, or None where there is none."""

    def loss(self, batch: GaussianBatch, weights: Tensor | None = None) -> Tensor:
        """The value to minimise, per object [B]."""

    def depth(
        self, batch: GaussianBatch, reference: GaussianBatch | None = None, weights: Tensor | Weighting | None = None
    ) -> Tensor:
        """The loss as a figure for reports, per object [B], without gradient."""


class BaseTrap(ABC, Generic[ConfigT]):
    """A trap with the checks, the precision and the depth that all traps share.

    A subclass sets ``key``, ``summary`` and ``Config`` and writes :meth:`measure` and :attr:`upper_bound`; one whose
    sensitivity to weights can be trained, :attr:`attribute` too.

    Args:
        config: Options, an instance of ``Config``; its defaults if left out.
    """

    key: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[Any] = TrapConfig

    def __init__(self, config: ConfigT | None = None) -> None:
        self.config: ConfigT = self.Config() if config is None else config

    @property
    @abstractmethod
    def upper_bound(self) -> float | None:
        """The largest value the loss can take, or None where there is none.

        The product-type aggregations accept a trap only if this is a number of at most zero.
        """

    @property
    def attribute(self) -> Attribute | None:
        """What the trap acts on, or None: then ``[traps.KEY.dynamic]`` is refused."""
        return None

    @abstractmethod
    def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
        """The loss per object.

        Args:
            batch: Gaussians of B objects.
            weights: None, or float64 [B, N] that add up to one per object.

        Returns:
            Tensor [B], best in float64.
        """

    def loss(self, batch: GaussianBatch, weights: Tensor | None = None) -> Tensor:
        """The value to minimise, per object; more negative is deeper.

        Args:
            batch: Gaussians of B objects.
            weights: [B, N], at least zero, normalised per object here. They are constants: no gradient flows through
                them, else a trap could be met by making Gaussians invisible.

        Returns:
            Tensor [B] in the batch's precision, float32 at least. A NaN in the batch gives a NaN.

        Raises:
            GeotrapError: The weights have another shape, a negative entry, or an object whose weights are all zero; or
                the trap needs pre-activations and the batch has none; or there is no Gaussian at all.
        """
        if batch.num_gaussians == 0:
            raise GeotrapError(
                f"trap {self.key}: the batch holds no Gaussians", hint="Pass clouds of one Gaussian or more"
            )
        normalised = None if weights is None else normalised_weights(batch, weights)
        return self.measure(batch, normalised).to(torch.promote_types(batch.activated.dtype, torch.float32))

    @torch.no_grad()
    def depth(
        self, batch: GaussianBatch, reference: GaussianBatch | None = None, weights: Tensor | Weighting | None = None
    ) -> Tensor:
        """The loss as a figure for reports, per object.

        Args:
            batch: Gaussians of B objects.
            reference: The same objects from the undefended model. With it the depth is
                ``loss(batch) - loss(reference)``: a thin plate is nearly flat before any defense.
            weights: [B, N], used for the batch and for the reference alike (Gaussians of one generator correspond by
                index), or a function such as :func:`opacity_weights` that is asked for each of the two.

        Returns:
            Tensor [B] without gradient.

        Raises:
            GeotrapError: As for :meth:`loss`, or batch and reference hold different numbers of objects.
        """
        depth = self.loss(batch, _weights_of(batch, weights))
        if reference is None:
            return depth
        if len(reference) != len(batch):
            raise GeotrapError(
                f"trap {self.key}: {len(batch)} objects are compared with {len(reference)} reference objects",
                hint="Pass the same objects, in the same order, for both",
            )
        return depth - self.loss(reference, _weights_of(reference, weights))


def attribute_of(trap: Trap) -> Attribute | None:
    """Return what a trap says it acts on; None where it does not say."""
    attribute: Attribute | None = getattr(trap, "attribute", None)
    return attribute


@dataclass(frozen=True)
class DepthReport:
    """Depth of one trap per object, each field [B]; NaN means "not measured".

    Attributes:
        raw: Every Gaussian counts the same.
        weighted: Gaussians count by opacity. NaN where all opacities are exactly zero.
        relative_raw: ``raw`` less that of the reference, or None without one.
        relative_weighted: ``weighted`` less that of the reference, each under its own opacities, or None.
    """

    raw: Tensor
    weighted: Tensor
    relative_raw: Tensor | None = None
    relative_weighted: Tensor | None = None


def report_depth(trap: Trap, batch: GaussianBatch, reference: GaussianBatch | None = None) -> DepthReport:
    """Depth of a trap, raw and opacity-weighted, and relative to a reference if one is given.

    Args:
        trap: The trap to report on.
        batch: Gaussians of B objects.
        reference: The same objects from the undefended model.

    Returns:
        A :class:`DepthReport` of tensors [B].
    """
    raw, weighted = trap.depth(batch), _visible_depth(trap, batch)
    if reference is None:
        return DepthReport(raw, weighted)
    relative_weighted = weighted - _visible_depth(trap, reference)
    return DepthReport(raw, weighted, trap.depth(batch, reference), relative_weighted)


def opacity_weights(batch: GaussianBatch) -> Tensor:
    """Opacities [B, N] as weights: constants, without gradient."""
    return batch.opacities.detach()


def normalised_weights(batch: GaussianBatch, weights: Tensor) -> Tensor:
    """Weights that add up to one per object.

    Args:
        batch: The batch they are for.
        weights: [B, N], at least zero. A NaN is kept and makes the loss NaN.

    Returns:
        float64 [B, N] without gradient.

    Raises:
        GeotrapError: Another shape, a negative entry, or an object whose weights are all zero.
    """
    expected = (len(batch), batch.num_gaussians)
    if tuple(weights.shape) != expected:
        raise GeotrapError(
            f"per-Gaussian weights have shape {tuple(weights.shape)}, the batch needs {expected}",
            hint="Give one weight for each Gaussian of each object",
        )
    weights = weights.detach().double()
    if bool((weights < 0).any()):
        raise GeotrapError("per-Gaussian weights hold a negative value", hint="Weights must be at least zero")
    total = weights.sum(dim=1, keepdim=True)
    if bool((total == 0).any()):
        empty = torch.nonzero(total[:, 0] == 0)[:, 0].tolist()
        raise GeotrapError(
            f"all per-Gaussian weights are zero for the objects at {empty} of the batch",
            hint="Nothing is visible there: leave these objects out, or measure without weights",
        )
    return weights / total


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over Gaussians in float64.

    Args:
        values: [B, N].
        weights: None, or [B, N] that add up to one per object.

    Returns:
        float64 [B].
    """
    values = values.double()
    return values.mean(dim=1) if weights is None else (weights * values).sum(dim=1)


def _weights_of(batch: GaussianBatch, weights: Tensor | Weighting | None) -> Tensor | None:
    return weights if weights is None or isinstance(weights, Tensor) else weights(batch)


def _visible_depth(trap: Trap, batch: GaussianBatch) -> Tensor:
    weights = opacity_weights(batch)
    invisible = weights.sum(dim=1) == 0
    depth = trap.depth(batch, weights=torch.where(invisible[:, None], torch.ones_like(weights), weights))
    return depth.masked_fill(invisible, torch.nan)
