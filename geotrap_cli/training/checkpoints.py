"""Checkpoints that a run continues from: parameters, optimizer and step, written as one folder or not at all."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geotrap_cli.atomic import atomic_path, recover
from geotrap_cli.errors import NonFiniteError, UsageError
from geotrap_cli.models.divided import is_divided, part_like, whole
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import save_generator
from geotrap_cli.tensor_files import read_tensors, write_tensors
from geotrap_cli.training.optimizer_state import load_optimizer, whole_state, write_state
from geotrap_cli.training.processes import ALONE, Processes

PARAMETERS = "parameters.safetensors"
STATE = "state.json"

#: Returns what writes a model into a folder.
ModelWriter = Callable[[], Callable[[Path], None]]


@dataclass
class Checkpointer:
    """Writes and reads the newest state of one optimisation.

    Attributes:
        folder: Where the checkpoint lives; replaced as a whole by every save.
        tensors: Everything that training changes, by name (parameters, moving averages).
        optimizer: Its state travels along.
        model_writer: Returns what writes the model itself into a folder, in the form in which it is released. Every
            process calls it, as weights may have to be gathered, and the first one what it returns.
        write_more: Writes further files into the checkpoint folder.
        processes: Those that share the optimisation; the first one writes, all read.
    """

    folder: Path
    tensors: Mapping[str, torch.Tensor]
    optimizer: torch.optim.Optimizer
    model_writer: ModelWriter | None = None
    write_more: Callable[[Path], None] | None = None
    processes: Processes = ALONE

    def save(self, step: int) -> None:
        """Replace the checkpoint by the present state after ``step`` finished steps.

        Raises:
            NonFiniteError: A tensor is not finite.
            OSError: The disk is full or cannot be written to.

        Whatever is raised, the previous checkpoint stays as it was.
        """
        tensors = self._whole_tensors(step)
        write_model = self.model_writer() if self.model_writer is not None else None
        optimizer = whole_state(self.optimizer, keep=self.processes.main)
        if self.processes.main:
            self._write(step, tensors, optimizer, write_model)
        self.processes.wait()

    def _whole_tensors(self, step: int) -> dict[str, torch.Tensor]:
        """Return all tensors in one piece, but for processes that do not write what is divided."""
        found = {}
        for name, tensor in self.tensors.items():
            piece = whole(tensor.detach())
            if not torch.isfinite(piece).all():
                raise NonFiniteError(
                    f"weight {name} is not finite after step {step}", "Lower the learning rate in a new run"
                )
            if self.processes.main:
                found[name] = piece.cpu() if is_divided(tensor) else piece
        return found

    def _write(
        self,
        step: int,
        tensors: Mapping[str, torch.Tensor],
        optimizer: Mapping[str, Any],
        write_model: Callable[[Path], None] | None,
    ) -> None:
        with atomic_path(self.folder) as temporary:
            temporary.mkdir(parents=True)
            if write_model is not None:
                write_model(temporary / "model")
            if self.write_more is not None:
                self.write_more(temporary)
            write_tensors(temporary / PARAMETERS, tensors)
            write_state(optimizer, temporary)
            (temporary / STATE).write_text(json.dumps({"step": step}))

    def kept(self) -> str | None:
        """Where the newest checkpoint is and of which step, in words; None where there is none."""
        if not (self.folder / STATE).is_file():
            return None
        step = json.loads((self.folder / STATE).read_text())["step"]
        return f"the checkpoint of step {step} is kept in {self.folder}"

    def restore(self) -> int:
        """Load the checkpoint into the tensors and the optimizer; return its step, 0 where there is none.

        Raises:
            UsageError: The checkpoint is damaged, or belongs to another model or another choice of layers.
        """
        with self.processes.main_first():
            recover(self.folder)
        if not (self.folder / STATE).is_file():
            return 0
        saved = read_tensors(self.folder / PARAMETERS)
        self._check_fits(saved)
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(part_like(tensor, saved[name]))
        load_optimizer(self.optimizer, self.folder)
        return int(json.loads((self.folder / STATE).read_text())["step"])

    def _check_fits(self, saved: Mapping[str, torch.Tensor]) -> None:
        different = sorted(saved.keys() ^ self.tensors.keys())
        # Compared one by one: copy_ would stretch a tensor of another shape without a word.
        different += [name for name in self.tensors if name in saved and saved[name].shape != self.tensors[name].shape]
        if different:
            raise UsageError(
                f"checkpoint {self.folder} is of another model or other layers: {len(different)} tensors differ, "
                f"such as {different[0]}",
                "Resume with the weights the run began with, or start a new run",
            )


def model_writer(
    processes: Processes, model: GaussianGenerator, values: Mapping[str, torch.Tensor] | None = None
) -> ModelWriter:
    """Return a :attr:`Checkpointer.model_writer` of ``model`` as it is whenever it is called.

    Args:
        processes: Those that share its weights.
        model: The model.
        values: Weights that are written in place of its own, by name.
    """
    return lambda: functools.partial(save_generator, processes.joined(model, values, "cpu"))
