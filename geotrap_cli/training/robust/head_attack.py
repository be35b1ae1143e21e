"""``[robust.head_attack]``: traps after an attacker has refitted the head alone."""

from __future__ import annotations

from torch import Tensor

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.schema import HeadAttackTable
from geotrap_cli.training.robust.adaptations import FullAdaptation
from geotrap_cli.training.robust.places import Place, shifted
from geotrap_cli.training.robust.simulation import AttackSimulator, Budget
from geotrap_cli.training.robust.streams import Stream
from geotrap_cli.training.workbench import Workbench


class HeadAttack:
    """θ + δ_k with δ_k from k AdamW steps on the head alone, constant for the gradient.

    The head is the cheapest thing to attack: a linear map after everything else, which reaches every Gaussian at once.

    Args:
        bench: Data and settings.
        model: The generator.
        table: Steps and learning rate.
    """

    name = "head_attack"

    def __init__(self, bench: Workbench, model: GaussianGenerator, table: HeadAttackTable) -> None:
        self.model, self.budget = model, Budget(table.steps, "adamw", table.lr)
        self.simulator = AttackSimulator(bench, model, Stream.HEAD_VIEWS)
        units = model.units()
        self.names = frozenset(name for unit in model.head_units for name in units[unit])

    def place(self, step: int, images: Tensor) -> Place:
        """Return the weights with the attacked head of ``step``."""
        deltas = self.simulator.run(step, FullAdaptation(self.model, self.names), self.budget)
        return Place(images, shifted(self.model, deltas))
