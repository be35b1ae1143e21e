"""What one analysis measures, on which weights, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.schema import Profile
from geotrap_cli.runs import open_run
from geotrap_cli.sensitivity.measures import ATTACK, ATTRIBUTES, Measure, attack_measure, jacobian_measure, trap_measure
from geotrap_cli.sensitivity.scores import GEOMETRIC_MEAN, UNIT
from geotrap_cli.training.defense import MODEL
from geotrap_cli.training.trap_set import load_trap
from geotrap_cli.training.workbench import Workbench
from geotrap_cli.traps import Trap

SAMPLES, PROBES = 16, 4


@dataclass(frozen=True)
class Plan:
    """What one analysis measures and how it is shown.

    Attributes:
        mode: ``trap``, ``attack`` or ``jacobian``.
        traps: The traps to measure; empty in the other modes.
        samples: Objects of each side, at most.
        probes: Random vectors of the Jacobian's norm.
        sort: Column that orders the units.
        top: Units to show; None: all.
        select: Units to choose for a profile; None: choose none.
        lora_safe: Choose only units that no adapter reaches.
    """

    mode: str
    traps: dict[str, Trap]
    samples: int
    probes: int
    sort: str
    top: int | None
    select: int | None
    lora_safe: bool

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of what is differentiated."""
        return {"trap": tuple(self.traps), "attack": (ATTACK,), "jacobian": ATTRIBUTES}[self.mode]

    @property
    def ranking(self) -> str:
        """The column by which units are chosen: that of the table, unless it is in the order of the network."""
        return GEOMETRIC_MEAN if self.sort == UNIT else self.sort

    def measure(self, bench: Workbench) -> Measure:
        """Return what is differentiated."""
        if self.mode == "trap":
            return trap_measure(self.traps)
        if self.mode == "attack":
            return attack_measure(bench.reconstruction_loss())
        return jacobian_measure(self.probes, bench.profile.train.seed)


def load_traps(profile: Profile, keys: Sequence[str]) -> dict[str, Trap]:
    """The traps ``keys``, with the profile's settings where it has some; without keys, the profile's traps.

    Raises:
        UsageError: A trap does not exist, or there is none at all.
    """
    if not (keys or profile.traps):
        raise UsageError("the profile has no [traps.KEY] table", hint="Name traps, for example --traps position")
    tables = profile.traps
    return {key: load_trap(key, tables[key].options if key in tables else None) for key in keys or tables}


def pick_weights(options: CommonOptions, profile: Profile) -> tuple[str, str]:
    """The weights to analyse, as a path or name, and in words: undefended, unless ``--run`` names a defense.

    Raises:
        UsageError: The run is not one of ``geotrap train``, or has no weights.
    """
    if options.run is None:
        return profile.model.weights, f"undefended, {profile.model.weights} ({profile.model.preset})"
    run = open_run(options.run)
    if run.command != "train":
        raise UsageError(f"{run.path} is a run of `geotrap {run.command}`", hint="Name a run of `geotrap train`")
    if not (run.path / MODEL).is_dir():
        raise UsageError(f"{run.path} has no weights in {MODEL}/", hint="Finish it with `geotrap train --resume`")
    return str(run.path / MODEL), f"defended, {run.path / MODEL}"
