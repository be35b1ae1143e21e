"""The table of the data that an attacker has of its own: ``[attack.data]``."""

from __future__ import annotations

from pydantic import Field

from geotrap_cli.profile.base import Count, FilePath, Names, ReaderTable, Seed


class AttackDataTable(ReaderTable):
    """``[attack.data]``: another data set for the target objects that attacks train on and are measured on.

    Source and benign objects stay those of ``[data]``. ``[attack.data.KEY]`` holds settings of the reader ``KEY``.
    """

    kind: str = Field(min_length=1, description="Data set reader: a key of the group geotrap.datasets.")
    root: FilePath | None = Field(default=None, description="Folder of the data set; the procedural set needs none.")
    target: Names | None = Field(
        default=None, min_length=1, description="Categories of it that the attacker wants; unset: those of data.target."
    )
    objects_per_category: Count | None = Field(
        default=None, description="Objects of each category of the procedural set (objects); unset: 48."
    )
    seed: Seed = Field(default=0, description="Seed of the objects and of the split into attack and evaluation.")
    cache: FilePath | None = Field(
        default=None, description="Folder of rendered views; unset: the user's cache folder."
    )
