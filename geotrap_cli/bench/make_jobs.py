"""Jobs from checked profiles: a training, and one attack on what it makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from geotrap_cli.attack_choice import with_attack_fields
from geotrap_cli.bench.digest import attack_digest, defense_digest, run_name
from geotrap_cli.bench.job import Job
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import AttackTable


@dataclass(frozen=True)
class Place:
    """Where a job stands in a grid.

    Attributes:
        entry: Labels of profile and defense.
        seed: Seed of the training and of the attack.
        trial: Number of the trial; None for what the leaderboard shows.
    """

    entry: tuple[str, str]
    seed: int
    trial: int | None = None

    def name(self, what: str) -> str:
        """Return the name of a job there."""
        if self.trial is not None:
            return f"{self.trial_prefix}{self.trial}: {what}"
        return f"{self.entry[0]}, {self.entry[1]}, seed {self.seed}: {what}"

    @property
    def trial_prefix(self) -> str:
        """What the names of all jobs of the entry's trials begin with."""
        return f"{self.entry[0]}, {self.entry[1]}, trial "


def training_job(place: Place, found: LoadedProfile, weights_of: Mapping[str, Job], options: CommonOptions) -> Job:
    """Return the training of a defense.

    Args:
        place: Where it stands.
        found: Its profile, with the seed of the place.
        weights_of: The trainings whose weights it takes, by option of its own table.
        options: Where, and on which device.
    """
    inner = {option: training.defended.rpartition("-")[2] for option, training in weights_of.items()}
    name = run_name(place.entry[1], defense_digest(found.profile, inner))
    return Job(
        name=place.name("defense"),
        entry=place.entry,
        seed=place.seed,
        attack=None,
        defended=name,
        loaded=dataclasses.replace(found, name=name),
        options=options,
        needs=tuple(training.name for training in weights_of.values()),
        weights_of={option: training.defended for option, training in weights_of.items()},
        trial=place.trial,
    )


def attack_job(training: Job, key: str, found: LoadedProfile) -> Job:
    """Return one attack on what a training makes; ``found`` is the profile with that attack among others."""
    place = Place(training.entry, training.seed, training.trial)
    alone = _one_attack(found, key)
    return Job(
        name=place.name(key),
        entry=place.entry,
        seed=place.seed,
        attack=key,
        defended=training.defended,
        loaded=dataclasses.replace(alone, name=run_name(training.defended, attack_digest(alone.profile, key))),
        options=training.options,
        needs=(training.name,),
        trial=place.trial,
    )


def with_seed(loaded: LoadedProfile, seed: int) -> LoadedProfile:
    """Return the profile with another seed of training and attack; objects stay those of ``data.seed``."""
    profile = loaded.profile
    tables = {name: getattr(profile, name).model_copy(update={"seed": seed}) for name in ("train", "attack")}
    origins = loaded.origins | {f"{name}.seed": "seeds of the grid" for name in tables}
    return dataclasses.replace(loaded, profile=profile.model_copy(update=tables), origins=origins)


def after_first(job: Job, first: dict[tuple[str, str], str]) -> Job:
    """Return an attack that waits for the first one of its kind on the same profile, which is noted in ``first``.

    What an attack makes of the undefended weights is measured beside the first defense, for all.
    """
    assert job.attack is not None, "trainings share nothing"
    before = first.setdefault((job.entry[0], job.attack), job.name)
    return job if before == job.name else dataclasses.replace(job, after=(before,))


def _one_attack(loaded: LoadedProfile, key: str) -> LoadedProfile:
    """Return the profile with one of its attacks, the options of that alone, and controls where they belong to it."""
    table: AttackTable = loaded.profile.attack
    controlled = not table.control_attacks or key in table.control_attacks
    fields = {
        "methods": (key,),
        "controls": table.controls if controlled else (),
        "control_attacks": table.control_attacks and (key,) if controlled else (),
    }
    return with_attack_fields(_without_others(loaded, key), fields, "the grid")


def _without_others(loaded: LoadedProfile, key: str) -> LoadedProfile:
    table = loaded.profile.attack
    others = [name for name in table.model_extra or {} if name != key]
    prefixes = tuple(f"attack.{name}." for name in others)
    values = {name: value for name, value in dict(table).items() if name not in others}
    profile = loaded.profile.model_copy(update={"attack": AttackTable.model_validate(values)})
    origins = {name: origin for name, origin in loaded.origins.items() if not name.startswith(prefixes)}
    return dataclasses.replace(loaded, profile=profile, origins=origins)
