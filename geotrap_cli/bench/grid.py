"""The file of ``geotrap bench``: which defenses, attacks, seeds and profiles make the grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tomli
from pydantic import Field, ValidationError

from geotrap_cli.errors import UsageError
from geotrap_cli.profile.base import Names, NonNegative, Positive, Seed, Table
from geotrap_cli.profile.layers import Layers, Origin
from geotrap_cli.profile.problems import Problems

Overrides = Annotated[tuple[str, ...], Field(strict=False)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False)]
SET_ASIDE = 0.2
"""Share of the groups of source objects on which no training of a grid with trials trains, unless it says otherwise."""


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


class TuningTable(Table):
    """``[tune]``: how many settings of each defense are tried before it is measured, and what they are judged by."""

    trials: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=0,
        description="Settings of each defense that are tried, its own one first; 0: nothing is tuned (trials).",
    )
    attacks: Annotated[Names, Field(min_length=1)] = Field(
        default=("lora", "full_lgm"), description="Attacks that a trial is judged by, by key: cheap ones."
    )
    set: Overrides = Field(
        default=(), description="Changed values of trials alone, each as key=value, such as attack.steps=50."
    )
    source_loss_bound: NonNegative = Field(
        default=1.0, description="Mean loss of foreground PSNR on source up to which a trial may be chosen (dB)."
    )
    seed: Seed = Field(default=0, description="Seed of the settings that are drawn.")


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
    tune: TuningTable = Field(default=TuningTable(), description="The search for the best options of each defense.")
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
    _check_tune(grid.tune, problems)
    named = {"seeds": grid.seeds, "attacks": grid.attacks, "tune.attacks": grid.tune.attacks}
    for field, values in named.items():
        if twice := sorted({value for value in values if values.count(value) > 1}, key=str):
            problems.add(field, f"{twice[0]} is named twice")
    for label, entry in grid.defenses.items():
        for option, other in entry.weights_of.items():
            _check_reference(grid, label, f"defenses.{label}.weights_of.{option}", other, problems)


def _check_tune(table: TuningTable, problems: Problems) -> None:
    if table.trials == 1:
        problems.add("tune.trials", "the only trial would be of a defense's own setting; use 2 or more, or 0")
    default = TuningTable()
    for name in TuningTable.model_fields:
        if table.trials == 0 and getattr(table, name) != getattr(default, name):
            problems.add(f"tune.{name}", "tune.trials is 0, so nothing is tuned; set that, or remove this")


def _check_reference(grid: Grid, label: str, dotted: str, other: str, problems: Problems) -> None:
    from geotrap_cli.plugins import suggestion

    if other not in grid.defenses:
        problems.add(dotted, f"no defense '{other}' in this grid; {suggestion(other, grid.defenses)}")
    elif label in _taken_from(grid, other):
        problems.add(dotted, f"'{label}' waits for its own weights")


def _taken_from(grid: Grid, label: str) -> set[str]:
    """Return a defense with all those whose weights it takes, through others as well."""
    found: set[str] = set()
    following = {label}
    while following:
        found |= following
        known = [grid.defenses[one] for one in following if one in grid.defenses]
        following = {other for entry in known for other in entry.weights_of.values()} - found
    return found
