"""The file of ``geotrap bench``: which defenses, attacks, seeds and profiles make the grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tomli
from pydantic import Field, ValidationError

from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Names, Positive, Seed, Table
from geotrap_cli.profile.layers import Layers, Origin
from geotrap_cli.profile.problems import Problems

Overrides = Annotated[tuple[str, ...], Field(strict=False)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False)]


class ProfileEntry(Table):
    """``[profiles.LABEL]``: a generator, its objects and every other setting of a profile."""

    profile: str | None = Field(
        default=None, description="TOML file, seen from the folder of the grid, or shipped name; unset: the label."
    )
    set: Overrides = Field(default=(), description="Changed values, each as key=value, as --set takes them.")


class DefenseEntry(Table):
    """``[defenses.LABEL]``: one line of the leaderboard."""

    method: str | None = Field(default=None, description="Key of the group geotrap.defenses; unset: the label.")
    set: Overrides = Field(default=(), description="Changed values, each as key=value, over those of the profile.")
    weights_of: dict[str, str] = Field(
        default_factory=dict,
        description="Options of [defense.KEY] that name weights, and the label of the defense of this grid whose "
        "weights they are, such as {defended = 'geotrap'} for lox.",
    )


class RayTable(Table):
    """``[ray]``: what one cell takes of a Ray cluster; read by ``--executor ray`` alone."""

    cpus: Positive = Field(default=1.0, description="CPU cores that a cell is counted with (cores).")
    gpus: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="Share of a GPU that a cell is counted with; 0: no GPU (GPUs)."
    )


class Grid(Table):
    """The whole file."""

    profiles: Annotated[dict[str, ProfileEntry], Field(min_length=1)] = Field(
        default_factory=lambda: {"pos_opacity": ProfileEntry()}, description="Profiles by label."
    )
    defenses: Annotated[dict[str, DefenseEntry], Field(min_length=1)] = Field(description="Defenses by label.")
    suite: str | None = Field(default=None, description="Suite of attacks: quick, full or adaptive.")
    attacks: Names = Field(default=(), description="Further attacks, or all of them without a suite, by key.")
    seeds: Seeds = Field(default=(0,), description="Seeds: each trains every defense and draws every attack anew.")
    set: Overrides = Field(default=(), description="Changed values of every profile, each as key=value.")
    ray: RayTable = Field(default=RayTable(), description="What one cell takes of a Ray cluster.")


@dataclass(frozen=True)
class LoadedGrid:
    """A checked grid and the file it is from."""

    grid: Grid
    path: Path

    @property
    def name(self) -> str:
        """Short name, which its folder carries."""
        return self.path.stem


def load_grid(path: Path) -> LoadedGrid:
    """Read a grid.

    Raises:
        UsageError: The file cannot be read or is not TOML, or values are wrong: all of them, one a line.
    """
    try:
        tables = tomli.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read grid {path}: {error}", "See docs/bench.md for one to start from") from error
    except tomli.TOMLDecodeError as error:
        raise UsageError(f"grid {path} is not TOML: {error}", "Mend it there") from error
    layers = Layers()
    layers.add(tables, Origin(path.name, path.parent))
    problems = Problems(layers, Grid)
    try:
        grid = Grid.model_validate(tables)
    except ValidationError as error:
        problems.add_validation(error, Grid)
        problems.raise_if_any(f"grid {path}")
        raise
    _check(grid, problems)
    problems.raise_if_any(f"grid {path}")
    return LoadedGrid(grid, path.resolve())


def _check(grid: Grid, problems: Problems) -> None:
    """Note what the types alone do not tell."""
    if not (grid.suite or grid.attacks):
        problems.add("attacks", 'there is neither a suite nor an attack; add suite = "quick"')
    if not grid.seeds:
        problems.add("seeds", "there is none; leave it out for seed 0")
    for field, values in {"seeds": grid.seeds, "attacks": grid.attacks}.items():
        if twice := sorted({value for value in values if values.count(value) > 1}, key=str):
            problems.add(field, f"{twice[0]} is named twice")
    for label, entry in grid.defenses.items():
        for option, other in entry.weights_of.items():
            _check_reference(grid, label, f"defenses.{label}.weights_of.{option}", other, problems)


def _check_reference(grid: Grid, label: str, dotted: str, other: str, problems: Problems) -> None:
    from geotrap_cli.plugins import suggestion

    seen: list[Any] = [label]
    while other in grid.defenses:
        if other in seen:
            problems.add(dotted, f"'{label}' waits for its own weights")
            return
        seen.append(other)
        following = list(grid.defenses[other].weights_of.values())
        if not following:
            return
        other = following[0]
    problems.add(dotted, f"no defense '{other}' in this grid; {suggestion(other, grid.defenses)}")
