"""The options of ``geotrap attack``; None where one was not given."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

_option = functools.partial(typer.Option, rich_help_panel="Attacks")

Methods = Annotated[
    list[str] | None, typer.Argument(metavar="ATTACK", help="Attacks by key; none: those of the profile.")
]
Lora = Annotated[bool, _option("--lora", help="The attack lora.")]
Full = Annotated[bool, _option("--full", help="The attack full.")]
Suite = Annotated[
    str | None,
    _option(
        "--suite",
        metavar="quick|full|adaptive",
        help="One attack of each kind, every attack, or those aimed at the defense.",
    ),
]
Tune = Annotated[
    int | None,
    _option(
        "--tune",
        metavar="N",
        min=1,
        help="First try N settings of each attack on each set of weights, then run the best ones too.",
    ),
]
NoControls = Annotated[
    bool,
    _option(
        "--no-controls", help="Leave out the controls: attacks on random weights and, in quick and full, further ones."
    ),
]
NoReuse = Annotated[bool, _option("--no-reuse", help="Also run what another run has measured.")]
LpipsTrunk = Annotated[
    Path | None,
    _option("--lpips-trunk", metavar="FILE", help="VGG16 weights for LPIPS; none: torch's hub cache."),
]
