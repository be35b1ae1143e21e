"""What ``geotrap sweep --dry-run`` shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.sweep.grid import Combination
from geotrap_cli.training.estimate import CAVEAT, duration, plan_attack, plan_defense


@dataclass(frozen=True)
class SweepPlan:
    """The combinations, and what they cost.

    Attributes:
        combinations: What would be run, in order.
        attacks: The attacks on each.
        train_steps: Steps of each defense.
        attack_steps: Steps of each attack.
        estimated_seconds: Duration of all defenses and attacks.
    """

    combinations: list[Combination]
    attacks: tuple[str, ...]
    train_steps: int
    attack_steps: int
    estimated_seconds: float

    def payload(self) -> dict[str, Any]:
        """Return the plan for ``--json``."""
        own = {**dataclasses.asdict(self), "combinations": [list(one.traps) for one in self.combinations]}
        return {**own, "caveat": CAVEAT}

    def render(self, console: Console) -> None:
        """Print one line a combination, then the work they are together."""
        for number, combination in enumerate(self.combinations, start=1):
            console.print(f"{number:3d}  {combination}", highlight=False)
        count = len(self.combinations)
        text = f"{count} defenses of {self.train_steps} steps, each attacked by {', '.join(self.attacks)}"
        console.print(Text(f"{text} for {self.attack_steps} steps"))
        console.print(Text(f"time  about {duration(self.estimated_seconds)}"))
        console.print(Text(CAVEAT))


def plan_sweep(options: CommonOptions, loaded: LoadedProfile, chosen: Sequence[Combination]) -> SweepPlan:
    """Return what a sweep of ``chosen`` over a base profile would do.

    Every combination is taken to cost what the base profile does, as traps are nothing beside the generator. Attacks on
    the undefended weights take place once.

    Raises:
        UsageError: The profile names units or attacks that do not exist or do not fit the generator.
    """
    alone = dataclasses.replace(options, resume=None)
    defense, attack = plan_defense(alone, loaded), plan_attack(alone, loaded)
    training = sum(defense.seconds(phase) for phase in defense.phases)
    attacks = sum(attack.seconds(phase) for phase in attack.phases)
    undefended = sum(attack.seconds(phase) / phase.runs for phase in attack.phases)
    seconds = len(chosen) * (training + attacks - undefended) + undefended
    profile = loaded.profile
    return SweepPlan(list(chosen), profile.attack.methods, profile.train.steps, profile.attack.steps, seconds)
