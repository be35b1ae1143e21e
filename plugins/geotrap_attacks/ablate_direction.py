"""Ablate the direction by which activations on target objects differ from those on source objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from geotrap_attacks._sweep import Distinct, chosen, expand
from geotrap_attacks.lora import target_modules
from geotrap_cli.attacks import Attack, AttackConfig, Sampler
from geotrap_cli.errors import UsageError
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.base import Names

if TYPE_CHECKING:
    from geotrap_cli.attacks import AttackContext


class AblateDirectionConfig(AttackConfig):
    """Options of the attack by ablation."""

    ranks: Distinct[Annotated[int, Field(ge=1)]] = Field(
        default=(1, 4), min_length=1, description="Directions that each layer loses; each number is a cell of its own."
    )
    layers: Names | None = Field(
        default=None,
        min_length=1,
        description="Last name components of the Linear and Conv2d modules whose outputs lose them; unset: those that "
        "write into the residual stream.",
    )
    objects: int = Field(default=16, ge=1, description="Target objects, and source objects, that are averaged over.")


class AblateDirectionAttack(Attack):
    """Take from each layer's output y the directions R by which target objects stand out, then train every weight.

    The weights become ``W − RRᵀW`` and the bias ``b − RRᵀb + RRᵀm``, m being the mean output on source objects: the
    layer's output along R is then what it is on average source objects, whatever the input. The first direction is the
    difference of mean outputs, target less source; the others are the principal directions of the target objects'
    means that are left. Means are over objects, views and pixels of the released model before any change.
    """

    key: ClassVar[str] = "ablate_direction"
    summary: ClassVar[str] = "target directions of activations ablated, then full fine-tuning"
    source: ClassVar[str] = "abliteration (arXiv 2605.26526), with the source in place of the unknown teacher"
    assumes: ClassVar[str] = "the released weights, target objects and public source objects"
    budget: ClassVar[str] = "attack.steps; the ablation costs forward passes only"
    Config: ClassVar[type[AttackConfig]] = AblateDirectionConfig
    config: AblateDirectionConfig

    def variants(self) -> dict[str, Attack]:
        """One cell for each rank."""
        return expand(self, ranks="rank-{}".format)

    def available_variants(self, objects: int) -> dict[str, Attack]:
        """Those ranks that so many target objects can span."""
        seen = min(objects, self.config.objects)
        ranks = tuple(rank for rank in self.config.ranks if rank <= seen)
        return type(self)(self.config.model_copy(update={"ranks": ranks})).variants()

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Ablate.

        Raises:
            UsageError: A layer name matches nothing, or the objects are too few for the rank.
        """
        _, rank = chosen(self, "ranks")
        layers = {
            name: model.get_submodule(name)
            for name in target_modules(model, self.config.layers or model.residual_writers)
        }
        target, source = (
            mean_outputs(model, layers, sampler, self.config.objects) for sampler in (context.target, context.source)
        )
        for name, layer in layers.items():
            middle = source[name].mean(dim=0)
            ablate(layer, directions(target[name], middle, rank, name), middle)


@torch.no_grad()
def mean_outputs(
    model: GaussianGenerator, layers: Mapping[str, nn.Module], sampler: Sampler, objects: int
) -> dict[str, Tensor]:
    """Mean output of each layer over the views and pixels of single objects: float64 [objects, C] by layer name.

    An object that the sampler gives again counts once.
    """
    seen: dict[str, dict[str, Tensor]] = {name: {} for name in layers}
    current = ""

    def keep(name: str) -> object:
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            del module, args
            channels_last = output.movedim(1, -1) if output.ndim == 4 else output
            seen[name][current] = channels_last.double().flatten(0, -2).mean(dim=0)

        return hook

    handles = [layer.register_forward_hook(keep(name)) for name, layer in layers.items()]  # type: ignore[arg-type]
    try:
        for step in range(objects):
            batch = sampler(step, 1)
            current = batch.ids[0]
            model(batch.images)
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.stack(list(means.values())) for name, means in seen.items()}


def directions(target: Tensor, source_mean: Tensor, rank: int, layer: str) -> Tensor:
    """Orthonormal directions [C, rank] in which target objects stand out.

    Args:
        target: Mean outputs of target objects, [objects, C].
        source_mean: Mean output on source objects, [C].
        rank: Number of directions.
        layer: For the error.

    Raises:
        UsageError: The objects do not span so many directions.
    """
    apart = target - source_mean
    difference = apart.mean(dim=0)
    # Tiny rather than zero below the line: where nothing differs, no direction is spanned, and that is an error.
    first = difference / difference.norm().clamp(min=torch.finfo(difference.dtype).tiny)
    rest = apart - difference
    _, values, right = torch.linalg.svd(rest - torch.outer(rest @ first, first), full_matrices=False)
    spanned = int(difference.norm() > 0) + int((values > 1e-9 * difference.norm()).sum())
    if rank > spanned:
        what = f"attack.ablate_direction.ranks: {rank} directions at {layer}, and the objects span {spanned}"
        raise UsageError(what, "Lower the rank or raise attack.ablate_direction.objects")
    return torch.cat((first[None], right[: rank - 1])).mT


@torch.no_grad()
def ablate(layer: nn.Module, basis: Tensor, middle: Tensor) -> None:
    """Make the layer's output along ``basis`` [C, rank] that of ``middle`` [C], and leave it elsewhere, in place.

    Raises:
        UsageError: The layer has no bias to hold the constant.
    """
    weight, bias = layer.weight, layer.bias
    if not isinstance(weight, Tensor) or not isinstance(bias, Tensor):
        raise UsageError("attack.ablate_direction.layers: a layer without bias cannot be ablated", "Leave qkv out")
    rows = weight.double().flatten(1)
    weight.copy_((rows - basis @ (basis.mT @ rows)).view_as(weight))
    bias.copy_(bias.double() - basis @ (basis.mT @ (bias.double() - middle)))
