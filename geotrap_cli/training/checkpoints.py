"""Checkpoints that a run continues from: parameters, optimizer and step, written as one folder or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from geotrap_cli.atomic import atomic_path, recover
from geotrap_cli.errors import NonFiniteError, UsageError
from geotrap_cli.tensor_files import read_tensors, write_tensors
from geotrap_cli.training.optimizer_state import load_optimizer, save_optimizer
from geotrap_cli.training.processes import ALONE, Processes

PARAMETERS = "parameters.safetensors"
STATE = "state.json"


@dataclass
class Checkpointer:
    """Writes and reads the newest state of one optimisation.

    Attributes:
        folder: Where the checkpoint lives; replaced as a whole by every save.
        tensors: Everything that training changes, by name (parameters, moving averages).
        optimizer: Its state travels along.
        write_model: Writes the model itself into the checkpoint folder, in the form in which it is released.
        write_more: Writes further files into the checkpoint folder.
        processes: Those that share the optimisation; the first one writes, all read.
    """

    folder: Path
    tensors: Mapping[str, torch.Tensor]
    optimizer: torch.optim.Optimizer
    write_model: Callable[[Path], None] | None = None
    write_more: Callable[[Path], None] | None = None
    processes: Processes = ALONE

    def save(self, step: int) -> None:
        """Replace the checkpoint by the present state after ``step`` finished steps.

        Raises:
            NonFiniteError: A tensor is not finite.
            OSError: The disk is full or cannot be written to.

        Whatever is raised, the previous checkpoint stays as it was.
        """
        for name, tensor in self.tensors.items():
            if not torch.isfinite(tensor).all():
                raise NonFiniteError(
                    f"weight {name} is not finite after step {step}", "Lower the learning rate in a new run"
                )
        if self.processes.main:
            self._write(step)
        self.processes.wait()

    def _write(self, step: int) -> None:
        with atomic_path(self.folder) as temporary:
            temporary.mkdir(parents=True)
            if self.write_model is not None:
                self.write_model(temporary / "model")
            if self.write_more is not None:
                self.write_more(temporary)
            write_tensors(temporary / PARAMETERS, self.tensors)
            save_optimizer(self.optimizer, temporary)
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
                tensor.copy_(saved[name])
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
