"""No defense: the weights are released as they are."""

from __future__ import annotations

from typing import ClassVar

from geotrap_cli.defenses import Defense


class NoDefense(Defense):
    """θ* = θ_0: what every other defense is measured against, through the same commands."""

    key: ClassVar[str] = "none"
    summary: ClassVar[str] = "the weights as they are: a control"
    source: ClassVar[str] = "control"
    assumes: ClassVar[str] = "nothing"
    cost: ClassVar[str] = "none"
    trains: ClassVar[bool] = False
