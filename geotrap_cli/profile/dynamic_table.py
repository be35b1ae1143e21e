"""The table ``[traps.KEY.dynamic]``: a trap's sensitivity to the weights."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from geotrap_cli.profile.base import Count, Names, Table


class DynamicTable(Table):
    """``[traps.KEY.dynamic]``: adds -eta log S, S being the sensitivity of what the trap acts on to the weights."""

    eta: float = Field(description="Weight of -log S; positive: raise the sensitivity, negative: lower it.")
    estimator: Literal["hutchinson", "sum", "exact"] = Field(
        default="hutchinson",
        description="How S is estimated; sum: by the gradient of the summed attribute; exact: for tiny generators.",
    )
    probes: Count = Field(default=1, description="Random vectors of the hutchinson estimator (vectors).")
    every: Count = Field(
        default=1, description="Interval at which the term is added, the last step of each (optimizer steps)."
    )
    layers: Names = Field(
        default=(), description="Exact names of trained units whose weights S is about; empty: all that are trained."
    )
