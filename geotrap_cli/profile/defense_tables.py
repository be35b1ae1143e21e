"""The tables of the defense: its method, traps, their aggregation, what is retained, and which layers move."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from geotrap_cli.profile.base import Count, FilePath, Multipliers, Names, NonNegative, PluginTable, Positive, Table
from geotrap_cli.profile.dynamic_table import DynamicTable


class DefenseTable(PluginTable):
    """``[defense]``: the method and its budget; ``[defense.KEY]`` holds the settings of one plug-in."""

    method: str = Field(default="geotrap", description="The defense: a key of the group geotrap.defenses.")
    max_gradient_evaluations: Count | None = Field(
        default=None,
        description="Budget after whose first excess the training ends (backward passes of train.batch_size objects); "
        "unset: train.steps alone.",
    )
    max_seconds: Positive | None = Field(
        default=None, description="Budget after whose excess the training ends (s); unset: train.steps alone."
    )


class TrapTable(Table):
    """``[traps.KEY]``: a trap's weight, and the settings of the plug-in itself."""

    model_config = ConfigDict(extra="allow")

    weight: Positive = Field(default=1.0, description="Weight of this trap in the aggregation.")
    weighting: Literal["equal", "opacity", "contribution"] = Field(
        default="equal",
        description="How Gaussians count in its means: equal, by opacity, or by what they contribute to four pictures.",
    )
    dynamic: DynamicTable | None = Field(
        default=None, description="Sensitivity of what the trap acts on to the weights; unset: no such term."
    )

    @property
    def options(self) -> dict[str, Any]:
        """The fields of the plug-in's own ``Config``, checked and complete after :func:`load_profile`."""
        return dict(self.model_extra or {})


class AggregationTable(Table):
    """``[aggregation]``: how several traps become one loss."""

    method: Literal["sum", "mean", "max", "logsumexp", "product", "pairwise"] = Field(
        default="mean",
        description="How the traps' losses are joined; product and pairwise need traps bounded above by 0.",
    )
    temperature: Positive = Field(default=0.25, description="Temperature of logsumexp and of pairwise.")


class RetainTable(Table):
    """``[retain]``: distillation on source objects towards the undefended generator."""

    weight: NonNegative = Field(default=400.0, description="Weight of the distillation in the total loss.")
    power: Annotated[int, Field(ge=1, le=2)] = Field(default=1, description="Exponent p of mean |G - G0|^p.")
    normalise: Literal["none", "attribute"] = Field(
        default="none",
        description="attribute: divide each attribute by its root mean square over the object's undefended Gaussians.",
    )
    quaternions: Literal["raw", "sign_invariant"] = Field(
        default="raw", description="sign_invariant: measure the distance to q or to -q, whichever is smaller."
    )
    render_weight: NonNegative = Field(
        default=0.0,
        description="Weight of the mean squared error between renderings of G and of G0, in the total loss; 0: none.",
    )
    render_views: Count = Field(default=2, description="Random views of a source object that are rendered (views).")
    cache: bool = Field(
        default=False,
        description="Keep G0 of each source object and choice of input views on disk, for later steps and runs.",
    )


class LayersTable(Table):
    """``[layers]``: which units of the generator the defense trains."""

    units: Names = Field(default=(), description="Exact unit names, as `geotrap analyze-layers` prints; empty: all.")
    freeze_head: bool = Field(
        default=True, description="Keep the head as it is: unet.conv_out and the 1x1 convolution behind it."
    )
    freeze_lora_targets: bool = Field(
        default=False,
        description="Keep every module as it is that the attack lora, as [attack.lora] is set, would adapt.",
    )
    lr_multipliers: Multipliers = Field(
        default_factory=dict,
        description="Factors of train.lr by unit, or by the beginning of units' names; the longest that fits counts.",
    )


class LossTable(Table):
    """``[loss]``: the rendering loss of attacks and of pretraining."""

    rgb_weight: NonNegative = Field(default=1.0, description="Weight of the mean squared colour error.")
    alpha_weight: NonNegative = Field(default=1.0, description="Weight of the mean squared error of the alpha channel.")
    perceptual: Literal["none", "dssim", "lpips"] = Field(default="none", description="Perceptual term of the loss.")
    perceptual_weight: NonNegative = Field(default=1.0, description="Weight of the perceptual term.")
    lpips_trunk: FilePath | None = Field(
        default=None,
        description="VGG16 weights in torchvision's layout, for LPIPS as loss and as metric; unset: torch's hub cache.",
    )
