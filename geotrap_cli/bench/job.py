"""One piece of work of a grid: a defense to train, or an attack on it; and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile


@dataclass(frozen=True)
class Job:
    """What one process does at a time; it goes to other processes and machines, so it holds plain values alone.

    Attributes:
        name: What it is called; no two jobs of a grid share it.
        entry: Labels of profile and defense.
        seed: Seed of the training and of the attack.
        attack: Key of the attack; None: the defense is trained.
        defended: Name of the profile of the defense, which its runs carry; it ends in a digest of all that acts on it.
        loaded: What is trained or attacked; its name is that of the run, and ends in a digest for an attack too.
        options: Where, and on which device.
        needs: Jobs that must have ended well before it.
        after: Jobs that must have ended before it, however.
        weights_of: Names of the defenses whose weights it takes, by option of its own table.
        trial: Number of the trial of tuning that it belongs to; None for what the leaderboard shows.
    """

    name: str
    entry: tuple[str, str]
    seed: int
    attack: str | None
    defended: str
    loaded: LoadedProfile
    options: CommonOptions
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    weights_of: Mapping[str, str] = field(default_factory=dict)
    trial: int | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """What jobs have in common that take about as long: profile, and defense or attack, of a trial or not."""
        what = f"attack {self.attack}" if self.attack else f"defense {self.entry[1]}"
        return self.entry[0], what if self.trial is None else f"trial of {what}"

    @property
    def root(self) -> Path:
        """The folder of all runs of the grid."""
        return self.options.runs_root


@dataclass(frozen=True)
class Peak:
    """How far one variant of an attack came on both sets of weights, dB of mean foreground PSNR on target objects.

    Attributes:
        method: The variant.
        floor: Of a white image.
        undefended: Best of the undefended weights.
        defended: Best of the defended weights.
    """

    method: str
    floor: float
    undefended: float
    defended: float


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        job: Its name.
        seconds: Duration.
        peaks: What an attack measured.
        error: Why it failed, one line; None where it did not.
        diverged: Whether it failed by a loss or a weight that is no finite number, as it would again.
        lost: Whether whoever worked on it is gone, so that it is worth another try.
    """

    job: str
    seconds: float = 0.0
    peaks: tuple[Peak, ...] = ()
    error: str | None = None
    lost: bool = False
    diverged: bool = False
