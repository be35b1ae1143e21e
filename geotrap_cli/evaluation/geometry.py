"""The state of a generator's geometry over held-out objects: how its Gaussians are distributed, and how many are stuck.

Every number is given for all Gaussians, and where it makes a difference once more with opacities as weights: a
generator with a Gaussian for every pixel keeps most of them invisible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geotrap_cli.covariance import eigenvalues, second_moment
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.evaluation.attributes import ATTRIBUTES, longest_axes
from geotrap_cli.evaluation.saturation import STATES, saturated
from geotrap_cli.gaussians import GaussianBatch

QUANTILES: dict[str, float] = {"p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95}
Quantiles = dict[str, float | None]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """How one attribute is distributed over the Gaussians of all objects.

    Attributes:
        edges: Edges of the bins, ascending; the outer bins also count what lies beyond them.
        shares: Share of the Gaussians in each bin.
        visible: The same with opacities as weights, each object weighing the same; None where all are invisible.
        quantiles: Values that occur, by the names of ``QUANTILES``; None where no Gaussian has one.
        visible_quantiles: The same with opacities as weights.
        undefined: Share of the Gaussians for which the attribute is not defined; they are in no bin.
    """

    edges: list[float]
    shares: list[float]
    visible: list[float] | None
    quantiles: Quantiles
    visible_quantiles: Quantiles
    undefined: float


@dataclass(frozen=True)
class GeometryState:
    """The Gaussians of one set of weights on a set of objects.

    Attributes:
        objects: Ids of the objects.
        gaussians: Gaussians of one object.
        distributions: By attribute, see :data:`~geotrap_cli.evaluation.attributes.ATTRIBUTES`.
        saturation: Share of the Gaussians by :data:`~geotrap_cli.evaluation.saturation.STATES`.
        shape: Means over the objects: ``position_spread`` and ``color_spread``, the trace of the covariance (squared
            world units; none); ``axis_concentration`` and ``axis_thickness``, the largest (1/3 to 1) and the smallest
            (0 to 1/3) eigenvalue of the mean of r rᵀ; ``effective_gaussians``, (Σo)² / Σo² for the opacities o, None
            where every object is invisible.
    """

    objects: list[str]
    gaussians: int
    distributions: dict[str, Distribution]
    saturation: dict[str, float]
    shape: dict[str, float | None]

    @property
    def seen(self) -> bool:
        """Whether any object can be seen at all."""
        return any(found.visible is not None for found in self.distributions.values())

    def median(self, attribute: str) -> float | None:
        """Return the median of an attribute over all Gaussians."""
        return self.distributions[attribute].quantiles["p50"]

    def summary(self) -> dict[str, Any]:
        """Return everything but the histograms."""
        return {
            "objects": len(self.objects),
            "gaussians": self.gaussians,
            "quantiles": {name: found.quantiles for name, found in self.distributions.items()},
            "visible_quantiles": {name: found.visible_quantiles for name, found in self.distributions.items()},
            "saturation": self.saturation,
            "shape": self.shape,
        }


States = Mapping[str, GeometryState | None]
"""Geometry by what it is of; None where it was not measured."""


class GeometryRecorder:
    """Collects the Gaussians that pass by and gives their :class:`GeometryState`."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._values: dict[str, list[Array]] = {name: [] for name in ATTRIBUTES}
        self._weights: list[Array] = []
        self._saturated: dict[str, list[Array]] = {name: [] for name in STATES}
        self._shapes: dict[str, list[Tensor]] = {}

    @torch.no_grad()
    def see(self, batch: GaussianBatch, ids: Sequence[str]) -> None:
        """Take in the Gaussians of the objects ``ids``.

        Raises:
            NonFiniteError: A value is NaN or infinite.
            GeotrapError: The batch carries no pre-activation values.
        """
        if not batch.activated.isfinite().all():
            raise NonFiniteError(f"Gaussians of {', '.join(ids)} hold NaN or infinity, so their state is not measured")
        self._ids += ids
        self._weights.append(_array(batch.opacities))
        for name, attribute in ATTRIBUTES.items():
            self._values[name].append(_array(attribute.measure(batch)))
        for name, found in saturated(batch).items():
            self._saturated[name].append(_array(found.double().mean(dim=1)))
        for name, values in _shapes(batch).items():
            self._shapes.setdefault(name, []).append(values)

    def report(self) -> GeometryState | None:
        """Return the state of everything that was seen, None where that is nothing."""
        if not self._ids:
            return None
        weights = _object_weights(np.concatenate(self._weights))
        return GeometryState(
            objects=list(self._ids),
            gaussians=self._weights[0].shape[1],
            distributions={
                name: _distribution(np.concatenate(values), weights, ATTRIBUTES[name].edges())
                for name, values in self._values.items()
            },
            saturation={name: float(np.concatenate(shares).mean()) for name, shares in self._saturated.items()},
            shape={name: _defined_mean(torch.cat(values)) for name, values in self._shapes.items()},
        )


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().double().cpu().numpy())


def _shapes(batch: GaussianBatch) -> dict[str, Tensor]:
    """Return what is one number of each object, ``[B]``."""
    axes = eigenvalues(second_moment(longest_axes(batch), centred=False))
    opacities = batch.opacities.double()
    return {
        "position_spread": _trace(second_moment(batch.means)),
        "color_spread": _trace(second_moment(batch.rgb)),
        "axis_concentration": axes[:, -1],
        "axis_thickness": axes[:, 0],
        "effective_gaussians": opacities.sum(dim=1).square() / opacities.square().sum(dim=1),
    }


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(dim=-1)


def _defined_mean(values: Tensor) -> float | None:
    defined = values[~values.isnan()]
    return float(defined.mean()) if len(defined) else None


def _object_weights(opacities: Array) -> Array:
    """Return opacities [B, N] that add up to one for each object; invisible objects weigh nothing."""
    totals = opacities.sum(axis=1, keepdims=True)
    return np.divide(opacities, totals, out=np.zeros_like(opacities), where=totals > 0)


def _distribution(values: Array, weights: Array, edges: Array) -> Distribution:
    defined = ~np.isnan(values)
    inside, seen = values[defined], weights[defined]
    return Distribution(
        edges=edges.tolist(),
        shares=_shares(inside, np.ones_like(inside), edges, values.size),
        visible=_shares(inside, seen, edges, seen.sum()) if seen.sum() > 0 else None,
        quantiles=_quantiles(inside, np.ones_like(inside)),
        visible_quantiles=_quantiles(inside, seen),
        undefined=float(1 - defined.mean()),
    )


def _shares(values: Array, weights: Array, edges: Array, total: float) -> list[float]:
    # Only the inner edges divide: what lies beyond the outer ones falls into the outer bins.
    counts = np.bincount(np.digitize(values, edges[1:-1]), weights=weights, minlength=len(edges) - 1)
    # More digits than Gaussians would only make files longer.
    shares: list[float] = np.round(counts / total, 7).tolist()
    return shares


def _quantiles(values: Array, weights: Array) -> Quantiles:
    """Return the smallest value up to which the wanted share of the weight lies: one that occurs, so no inf - inf."""
    total = weights.sum()
    if not total > 0:
        return dict.fromkeys(QUANTILES)
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) / total
    last = len(order) - 1
    return {
        # The sum of many shares may miss a round number by its last digits.
        name: float(values[order[min(last, int(np.searchsorted(reached, share - 1e-12)))]])
        for name, share in QUANTILES.items()
    }
