"""After a defense: how deep the traps are on objects the defense never saw, and how far source outputs moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from geotrap_cli.data.views import evaluation_batches
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.retention import distillation
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import Workbench


@dataclass(frozen=True)
class TrapDepths:
    """Mean depth of one trap over held-out target objects.

    Attributes:
        trap: Its key.
        undefended: Raw depth under the undefended weights.
        defended: Raw depth under the defended weights.
        visible: Depth under the defended weights with Gaussians weighted by opacity; None where all are invisible.
        relative: Defended less undefended, object by object.
    """

    trap: str
    undefended: float
    defended: float
    visible: float | None
    relative: float

    def record(self) -> dict[str, str | float | None]:
        """Return the fields as a table row."""
        return {
            "trap": self.trap,
            "undefended": self.undefended,
            "defended": self.defended,
            "opacity-weighted": self.visible,
            "relative": self.relative,
        }


@torch.no_grad()
def measure_depths(bench: Workbench, traps: TrapSet, model: LGM, teacher: LGM) -> tuple[list[TrapDepths], float]:
    """Return the depth of every trap on eval-target objects, and the drift on source-eval objects.

    Drift is the mean absolute difference of the activated channels between ``model`` and ``teacher``.
    """
    rows: dict[str, list[dict[str, torch.Tensor]]] = {key: [] for key in traps.traps}
    for defended, undefended in _pairs(bench, bench.splits.eval_target, model, teacher):
        for key, depth in traps.depths(defended, undefended).items():
            rows[key].append(depth)
    drift, objects = 0.0, 0
    for defended, undefended in _pairs(bench, bench.splits.source_eval, model, teacher):
        # The last batch may be smaller: every object counts once, not every batch.
        drift += float(distillation(defended, undefended)) * len(defended)
        objects += len(defended)
    return [_summarise(key, depths) for key, depths in rows.items()], drift / objects


def _pairs(
    bench: Workbench, ids: tuple[str, ...], model: LGM, teacher: LGM
) -> Iterator[tuple[GaussianBatch, GaussianBatch]]:
    """Yield what both generators make of the drawn objects, batch by batch."""
    table = bench.profile.eval
    batches = evaluation_batches(
        bench.dataset, bench.draw(ids), bench.input_size, bench.output_size, table.views, table.batch_size, bench.seed
    )
    for batch in batches:
        images = batch.to(bench.device).images
        yield model.forward_gaussians(images), teacher.forward_gaussians(images)


def _summarise(key: str, depths: list[dict[str, torch.Tensor]]) -> TrapDepths:
    joined = {name: torch.cat([depth[name] for depth in depths]) for name in depths[0]}
    raw, relative = joined["raw"].mean(), joined["relative"].mean()
    visible = joined["weighted"][~joined["weighted"].isnan()]
    mean = float(visible.mean()) if len(visible) else None
    return TrapDepths(key, float(raw - relative), float(raw), mean, float(relative))
