"""Quantise and restore the weights, then full fine-tuning: small changes that carry a trap are rounded away."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from geotrap_attacks._surgery import matrices
from geotrap_attacks._sweep import Distinct, chosen, expand
from geotrap_cli.attacks import Attack, AttackConfig

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext
    from geotrap_cli.models.generator import GaussianGenerator

Format = Literal["int8", "int4", "bf16"]
BITS: Final = {"int8": 8, "int4": 4}


class QuantizeConfig(AttackConfig):
    """Options of the attack by quantisation."""

    formats: Distinct[Format] = Field(
        default=("int8", "int4", "bf16"),
        min_length=1,
        description="Number formats the weights go through; each is a cell of its own.",
    )


def round_to_nearest(weight: Tensor, bits: int) -> Tensor:
    """Symmetric round-to-nearest with one step per output channel, as float again.

    The step is ``max |w| / (2^(bits - 1) - 1)`` over a channel, so no number moves by more than half of it.

    Args:
        weight: [C_out, ...].
        bits: Width of the integers.
    """
    rows = weight.flatten(1)
    step = rows.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
    # A channel of zeros has step zero and stays zero.
    whole = torch.where(step > 0, rows / step, torch.zeros_like(rows)).round()
    return (whole * step).view_as(weight)


@torch.no_grad()
def quantise(model: nn.Module, format: Format) -> None:
    """Send weights through ``format`` and back: integers for linear and convolution weights, bf16 for everything."""
    if format == "bf16":
        for parameter in model.parameters():
            parameter.copy_(parameter.to(torch.bfloat16))
        return
    for _, weight in matrices(model):
        weight.copy_(round_to_nearest(weight, BITS[format]))


class QuantizeAttack(Attack):
    """Round the weights to int8, int4 (per output channel, round to nearest) or bf16, then train every weight.

    Integer formats leave biases and norms as they are, as weight-only quantisation does.
    """

    key: ClassVar[str] = "quantize"
    summary: ClassVar[str] = "weights rounded to int8, int4 or bf16, then full fine-tuning"
    source: ClassVar[str] = "quantisation attacks on unlearning; TamperBench's family"
    budget: ClassVar[str] = "attack.steps; the rounding costs nothing"
    Config: ClassVar[type[AttackConfig]] = QuantizeConfig
    config: QuantizeConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each format."""
        return expand(self, formats=str)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Round the weights."""
        del context
        _, format = chosen(self, "formats")
        quantise(model, format)
