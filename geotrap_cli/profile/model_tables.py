"""The tables that say what is protected and on which objects: ``[model]`` and ``[data]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from geotrap_cli.profile.base import Count, FilePath, Names, ReaderTable, Seed, Table


class ModelTable(Table):
    """``[model]``: the generator and its weights."""

    family: str = Field(default="lgm", min_length=1, description="Generator: a key of the group geotrap.models.")
    preset: str = Field(
        default="nano",
        min_length=1,
        description="Size: nano, tiny, small or big of lgm; nano, objaverse, cars or chairs of splatter_image.",
    )
    weights: str = Field(
        default="shipped",
        min_length=1,
        description='"shipped", "random", a diffusers folder, an official .safetensors file, or an id on the Hugging '
        "Face hub, owner/name or owner/name@revision.",
    )
    old_rotation: bool = Field(
        default=False,
        description="The official file is from before LGM's rotation fix (its name does not end in _fixrot).",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Recompute activations in the backward pass: less memory, about a third more time."
    )
    fuse_head: bool = Field(
        default=False,
        description="Fold the 1x1 output convolution into conv_out, which removes a 210-parameter shortcut.",
    )


class DataTable(ReaderTable):
    """``[data]``: the objects, and which of their categories are target, source and benign.

    ``[data.KEY]`` holds settings of the reader ``KEY`` that no field here stands for.
    """

    kind: str = Field(
        default="procedural", min_length=1, description="Data set reader: a key of the group geotrap.datasets."
    )
    root: FilePath | None = Field(default=None, description="Folder of the data set; the procedural set needs none.")
    target: Names = Field(
        default=("knife", "hammer", "scissors"),
        min_length=1,
        description="Categories the generator must not be tuned towards.",
    )
    benign: Names | None = Field(
        default=None, description="New categories that must stay trainable; unset: those the data set proposes."
    )
    source: Names = Field(default=(), description="Categories whose quality is kept; empty: all the rest.")
    objects_per_category: Count | None = Field(
        default=None, description="Objects of each category of the procedural set (objects); unset: 48."
    )
    seed: Seed = Field(default=0, description="Seed of the objects and of the split into disjoint sets.")
    set_aside: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0,
        description="Share of the groups of source objects on which nobody trains, so that settings can be chosen by "
        "them (eval.split); 0: none.",
    )
    output_size: Annotated[int, Field(ge=8, le=4096)] | None = Field(
        default=None, description="Side of the supervised renders (pixels); unset: what the model was made for."
    )
    cache: FilePath | None = Field(
        default=None, description="Folder of rendered views; unset: the user's cache folder."
    )
    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        default=0, description="Processes that render views before the training (processes); 0: one a core."
    )
