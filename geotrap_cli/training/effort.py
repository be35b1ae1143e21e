"""What a training has cost so far, in time and in passes through the generator, and whether its budget is spent."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geotrap_cli.atomic import recover
from geotrap_cli.models.compiled import CompiledBlock
from geotrap_cli.profile.schema import DefenseTable
from geotrap_cli.usage import Usage, UsageMeter

EFFORT = "effort.json"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Effort:
    """What a training took, the parts before interruptions included.

    Attributes:
        steps: Optimizer steps.
        seconds: Duration.
        forward: Objects that went forward through the generator or its undefended copy.
        backward: Objects that a gradient went all the way back through the generator for, to its first trained layer.
        pixels: Pixels that were rendered.
    """

    steps: int = 0
    seconds: float = 0.0
    forward: int = 0
    backward: int = 0
    pixels: int = 0

    def gradient_evaluations(self, batch_size: int) -> float:
        """Backward passes in units of a batch: what methods of different kinds can be compared by."""
        return self.backward / batch_size

    def payload(self, batch_size: int) -> dict[str, Any]:
        """Return the effort as JSON values."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "gradient_evaluations": self.gradient_evaluations(batch_size),
            "forward_passes": self.forward / batch_size,
        }


class EffortMeter:
    """Counts the passes of a training, and says when its budget is spent.

    Args:
        table: The budget.
        batch_size: Objects of a batch.
        checkpoint: Folder of the checkpoint that the count goes on from, where there is one.
        processes: How many share every batch; each sees an equal part, and all are counted.
        device: Where they compute.
    """

    def __init__(
        self,
        table: DefenseTable,
        batch_size: int,
        checkpoint: Path,
        processes: int = 1,
        device: torch.device = CPU,
    ) -> None:
        self.table, self.batch_size, self._processes = table, batch_size, processes
        recover(checkpoint)
        found = checkpoint / EFFORT
        before = Effort(**json.loads(found.read_text(encoding="utf-8"))) if found.is_file() else Effort()
        self._steps, self._forward, self._backward = before.steps, before.forward, before.backward
        self._unwatched = 0
        self._usage = UsageMeter(device, processes, before.seconds, before.pixels)
        #: The field of ``[defense]`` whose budget was spent after the newest step; None where none was.
        self.spent = self._find_spent()

    @contextlib.contextmanager
    def watching(self, *generators: nn.Module) -> Iterator[None]:
        """Count every pass through the generators inside."""
        handles = [generator.register_forward_pre_hook(self._see) for generator in generators]
        layers = [layer for generator in generators for layer in _watched(generator)]
        handles += [layer.register_forward_hook(self._see_layer) for layer in layers]
        try:
            with self._usage.watching():
                yield
        finally:
            for handle in handles:
                handle.remove()

    def finished_step(self, step: int) -> None:
        """Note that so many steps are done; what the budget allows is decided here, once a step."""
        self._steps = step
        self.spent = self._find_spent()

    @property
    def so_far(self) -> Effort:
        """What the training has taken up to now."""
        return Effort(self._steps, self._usage.seconds, self._forward, self._backward, self._usage.pixels)

    @property
    def usage(self) -> Usage:
        """What the training has used up to now."""
        return self._usage.so_far(self._backward)

    def _find_spent(self) -> str | None:
        effort, table = self.so_far, self.table
        gradients = effort.gradient_evaluations(self.batch_size)
        if table.max_gradient_evaluations is not None and gradients >= table.max_gradient_evaluations:
            return "max_gradient_evaluations"
        if table.max_seconds is not None and effort.seconds >= table.max_seconds:
            return "max_seconds"
        return None

    def write(self, folder: Path) -> None:
        """Write the count into the folder of a checkpoint."""
        (folder / EFFORT).write_text(json.dumps(dataclasses.asdict(self.so_far)), encoding="utf-8")

    def _see(self, generator: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        del generator
        self._unwatched = self._processes * len(inputs[0])
        self._forward += self._unwatched

    def _see_layer(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Hang on to the first tensor of a pass that has a gradient: one that comes so far went all the way back."""
        del layer, inputs
        if self._unwatched and output.requires_grad:
            objects, self._unwatched = self._unwatched, 0
            output.register_hook(lambda _: self._see_back(objects))

    def _see_back(self, objects: int) -> None:
        self._backward += objects


def _watched(generator: nn.Module) -> list[nn.Module]:
    """Return the layers with weights; of those inside a compiled block, whose hooks it may not call, the block."""
    inside = {
        layer
        for block in generator.modules()
        if isinstance(block, CompiledBlock)
        for layer in block.modules()
        if layer is not block
    }
    layers = [layer for layer in generator.modules() if layer not in inside]
    return [layer for layer in layers if isinstance(layer, CompiledBlock) or list(layer.parameters(False))]
