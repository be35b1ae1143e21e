"""What one analysis measures, and on which weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.schema import Profile
from geotrap_cli.runs import open_run
from geotrap_cli.sensitivity.measures import ATTACK, ATTRIBUTES, Measure, attack_measure, jacobian_measure, trap_measure
from geotrap_cli.sensitivity.request import AnalysisRequest
from geotrap_cli.sensitivity.scores import GEOMETRIC_MEAN, UNIT, check_column
from geotrap_cli.training.defense import MODEL
from geotrap_cli.training.trap_set import load_trap
from geotrap_cli.training.workbench import Workbench
from geotrap_cli.traps import Trap


@dataclass(frozen=True)
class Plan:
    """A request made concrete.

    Attributes:
        request: What was asked for.
        traps: The traps to measure; empty in the modes without.
    """

    request: AnalysisRequest
    traps: dict[str, Trap]

    @classmethod
    def of(cls, request: AnalysisRequest, profile: Profile) -> Plan:
        """Load the traps of ``request`` and check its columns.

        Raises:
            UsageError: A trap or a column does not exist, or there is no trap at all.
        """
        plan = cls(request, load_traps(profile, request.traps) if request.mode == "trap" else {})
        check_column(request.sort, plan.losses)
        return plan

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of what is differentiated."""
        return {"trap": tuple(self.traps), "attack": (ATTACK,), "jacobian": ATTRIBUTES}[self.request.mode]

    @property
    def backward_passes(self) -> int:
        """Backward passes a sample."""
        return len(self.losses) * (self.request.probes if self.request.mode == "jacobian" else 1)

    @property
    def ranking(self) -> str:
        """The column by which units are chosen: that of the table, unless it is in the order of the network."""
        return GEOMETRIC_MEAN if self.request.sort == UNIT else self.request.sort

    def measure(self, bench: Workbench) -> Measure:
        """Return what is differentiated."""
        if self.request.mode == "trap":
            return trap_measure(self.traps)
        if self.request.mode == "attack":
            return attack_measure(bench.reconstruction_loss())
        return jacobian_measure(self.request.probes, bench.profile.train.seed)


def load_traps(profile: Profile, keys: Sequence[str]) -> dict[str, Trap]:
    """The traps ``keys``, with the profile's settings where it has some; without keys, the profile's traps.

    Raises:
        UsageError: A trap does not exist, or there is none at all.
    """
    if not (keys or profile.traps):
        raise UsageError("the profile has no [traps.KEY] table", hint="Name traps, for example --traps position")
    tables = profile.traps
    return {key: load_trap(key, tables[key].options if key in tables else None) for key in keys or tables}


@dataclass(frozen=True)
class AnalysedWeights:
    """Which weights are analysed.

    Attributes:
        source: Path or name, as a profile would state it.
        words: What they are, for people.
        defended: Whether a defense made them.
    """

    source: str
    words: str
    defended: bool


def pick_weights(options: CommonOptions, profile: Profile) -> AnalysedWeights:
    """The weights to analyse: undefended, unless ``--run`` names a defense.

    Raises:
        UsageError: The run is not one of ``geotrap train``, or has no weights.
    """
    if options.run is None:
        words = f"undefended, {profile.model.weights} ({profile.model.preset})"
        return AnalysedWeights(profile.model.weights, words, defended=False)
    run = open_run(options.run)
    if run.command != "train":
        raise UsageError(f"{run.path} is a run of `geotrap {run.command}`", hint="Name a run of `geotrap train`")
    if not (run.path / MODEL).is_dir():
        raise UsageError(f"{run.path} has no weights in {MODEL}/", hint="Finish it with `geotrap train --resume`")
    return AnalysedWeights(str(run.path / MODEL), f"defended, {run.path / MODEL}", defended=True)
