"""``[robust.unrolled]``: traps after a few steps of the attack that they are meant to withstand."""

from __future__ import annotations

from torch import Tensor

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.schema import UnrolledTable
from geotrap_cli.training.adapters import configured_adapters
from geotrap_cli.training.robust.adaptations import make_adaptation
from geotrap_cli.training.robust.places import Place, shifted
from geotrap_cli.training.robust.simulation import AttackSimulator, Budget
from geotrap_cli.training.robust.streams import Stream, numpy_stream, torch_stream
from geotrap_cli.training.workbench import Workbench


class UnrolledAttack:
    """θ + δ_k, where δ_k is what k attack steps from θ add; the gradient takes δ_k as constant (first order).

    Each step of the defense draws its attack anew: LoRA or full fine-tuning, optimizer, learning rate, loss, objects,
    views.

    Args:
        bench: Data and settings.
        model: The generator.
        table: The lists to draw from.
        teacher: The undefended generator, whose attributes an attacker may regress.
    """

    name = "unrolled"

    def __init__(
        self, bench: Workbench, model: GaussianGenerator, table: UnrolledTable, teacher: GaussianGenerator
    ) -> None:
        self.model, self.table, self.seed = model, table, bench.profile.train.seed
        self.simulator = AttackSimulator(bench, model, Stream.UNROLLED_VIEWS, teacher)
        self.adapters = configured_adapters(model, bench.profile) if "lora" in table.kinds else {}

    def place(self, step: int, images: Tensor) -> Place:
        """Return the attacked weights of ``step``."""
        kind, budget = self.draw(step)
        generator = torch_stream(self.seed, step, Stream.UNROLLED_ADAPTER, images.device)
        adaptation = make_adaptation(kind, self.model, self.adapters, generator)
        return Place(images, shifted(self.model, self.simulator.run(step, adaptation, budget)))

    def draw(self, step: int) -> tuple[str, Budget]:
        """Return the attack of ``step``: its kind and its budget."""
        rng, table = numpy_stream(self.seed, step, Stream.UNROLLED_CHOICE), self.table
        kind = table.kinds[rng.integers(len(table.kinds))]
        optimizer = table.optimizers[rng.integers(len(table.optimizers))]
        lr = table.lrs[rng.integers(len(table.lrs))]
        return kind, Budget(table.steps, optimizer, lr, table.losses[rng.integers(len(table.losses))])
