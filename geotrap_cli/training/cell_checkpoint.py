"""Where a running cell stands, so that a killed attack loses steps and not the cell.

Weights and optimizer lie in the files of :class:`~geotrap_cli.training.checkpoints.Checkpointer`; beside them, in one
folder that is replaced as a whole, lies what the cell has measured and what its attack remembers.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from geotrap_cli.atomic import atomic_path, recover
from geotrap_cli.evaluation.cells import CellEvaluation, strict_json
from geotrap_cli.runs import RunFolder, list_runs
from geotrap_cli.tensor_files import read_tensors, write_tensors

CHECKPOINTS = "checkpoints"
CELL, MEMORY, PICTURES, TRUTH = "cell.json", "memory.safetensors", "pictures.safetensors", "truth.safetensors"
GAUSSIANS = "gaussians.safetensors"
_RANDOM = "torch_random_state"


@dataclass
class CellProgress:
    """What a cell has gathered so far.

    Attributes:
        evaluations: Its measurements.
        health: The lists of its health record.
        seconds: How long it has taken.
        pixels: How many pixels it has rendered.
        pictures: Its pictures.
        truth: The pictures of the objects.
        gaussians: The Gaussians it keeps.
        memory: What its attack remembers.
        random_state: Torch's global generator on the CPU.
    """

    evaluations: list[CellEvaluation]
    health: dict[str, list[float]]
    seconds: float
    pictures: dict[str, torch.Tensor]
    truth: dict[str, torch.Tensor]
    gaussians: dict[str, torch.Tensor] = field(default_factory=dict)
    memory: dict[str, torch.Tensor] = field(default_factory=dict)
    random_state: torch.Tensor | None = None
    pixels: int = 0


@dataclass(frozen=True)
class CellCheckpoint:
    """The checkpoint of one cell.

    Attributes:
        folder: Where it lies.
        key: Hash of everything the cell depends on; a checkpoint with another one is none.
        every: Interval (optimizer steps).
    """

    folder: Path
    key: str
    every: int

    def read(self) -> CellProgress | None:
        """Return where the cell stood; None where it has to begin. What belongs to another cell is removed."""
        recover(self.folder)
        if not (self.folder / CELL).is_file():
            return None
        record = json.loads((self.folder / CELL).read_text(encoding="utf-8"))
        if record["key"] != self.key:
            self.remove()
            return None
        memory = read_tensors(self.folder / MEMORY)
        return CellProgress(
            evaluations=TypeAdapter(list[CellEvaluation]).validate_python(record["evaluations"]),
            health=record["health"],
            seconds=record["seconds"],
            pixels=record["pixels"],
            pictures=read_tensors(self.folder / PICTURES),
            truth=read_tensors(self.folder / TRUTH),
            gaussians=read_tensors(self.folder / GAUSSIANS),
            random_state=memory.pop(_RANDOM),
            memory=memory,
        )

    def write(self, folder: Path, progress: CellProgress) -> None:
        """Write ``progress`` into ``folder``, which is about to become the checkpoint."""
        evaluations: list[Any] = [strict_json(dataclasses.asdict(one)) for one in progress.evaluations]
        record: dict[str, Any] = {"key": self.key, "evaluations": evaluations, "health": progress.health}
        record |= {"seconds": progress.seconds, "pixels": progress.pixels}
        (folder / CELL).write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
        write_tensors(folder / MEMORY, {**progress.memory, _RANDOM: torch.get_rng_state()})
        write_tensors(folder / PICTURES, progress.pictures)
        write_tensors(folder / TRUTH, progress.truth)
        write_tensors(folder / GAUSSIANS, progress.gaussians)

    def adopt(self, root: Path) -> None:
        """Take over the checkpoint of the very same cell from a run under ``root`` that ended before it did."""
        if self.folder.exists():
            return
        for run in list_runs(root):
            theirs = run.path / CHECKPOINTS / self.folder.name
            if run.command == "attack" and (theirs / CELL).is_file() and self._is_left_behind(run, theirs):
                with atomic_path(self.folder) as temporary:
                    shutil.copytree(theirs, temporary)
                return

    def remove(self) -> None:
        """Remove it: the cell is complete, or another one."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_left_behind(self, run: RunFolder, folder: Path) -> bool:
        ended = run.status in ("failed", "interrupted")
        return ended and bool(json.loads((folder / CELL).read_text(encoding="utf-8"))["key"] == self.key)
