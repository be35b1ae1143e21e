"""Several processes that train one model: each takes its part of every batch, the first one writes.

Gradients are averaged by PyTorch's DistributedDataParallel, which Accelerate sets up as ``accelerate launch`` was told,
or by FSDP2, which divides weights, gradients and moments as well. A loss that is a mean over the objects of a batch is
then, to rounding, that of one process with the whole batch.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from geotrap_cli.data.views import WHOLE, Part
from geotrap_cli.errors import UsageError
from geotrap_cli.launched import process_count
from geotrap_cli.models.divided import divide, joined
from geotrap_cli.training.launcher import check_launcher, divides_weights
from geotrap_cli.training.precision import pick_device

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from geotrap_cli.models.generator import GaussianGenerator

#: What a generator is called like: images ``[B, V, 9, H, W]`` to raw channels ``[B, N, 14]``.
Network = Callable[[Tensor], Tensor]


class Processes:
    """The process that runs this, and those beside it. Alone, everything is done at once and nothing is sent.

    Every method but :meth:`check_batch` is to be called by all processes, in the same order.

    Args:
        device: Where this process computes.
        accelerator: The joint state of several processes; None: this one is alone.
        mesh: The processes over which weights are divided; None: each has all.
    """

    def __init__(self, device: torch.device, accelerator: Any | None = None, mesh: DeviceMesh | None = None) -> None:
        self.device, self._accelerator, self._mesh = device, accelerator, mesh
        self.index: int = 0 if accelerator is None else accelerator.process_index
        self.count: int = 1 if accelerator is None else accelerator.num_processes

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.index == 0

    @property
    def divides(self) -> bool:
        """Whether weights are divided over the processes, not batches alone."""
        return self._mesh is not None

    @property
    def part(self) -> Part:
        """The part of every batch that this process takes."""
        return Part(self.index, self.count) if self.count > 1 else WHOLE

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # After a failure the others may wait for a message that never comes: the launcher ends them.
        if kind is None:
            self.wait()

    def check_batch(self, key: str, size: int) -> None:
        """Check that a batch can be divided evenly.

        Raises:
            UsageError: It cannot; ``key`` is the option that sets its size.
        """
        if size % self.count:
            what = f"{key} is {size}, which cannot be divided over {self.count} processes"
            raise UsageError(what, f"Set it to a multiple of {self.count}, or launch fewer processes")

    def divide(self, model: GaussianGenerator) -> None:
        """Divide the weights of ``model`` over the processes, in place, where they are to be; else leave it alone."""
        if self._mesh is not None:
            divide(model, self._mesh)

    def joined(
        self, model: GaussianGenerator, values: Mapping[str, Tensor] | None = None, device: str | None = None
    ) -> GaussianGenerator:
        """Return ``model`` in one piece, a copy where its weights are divided or others are put in their place.

        Args:
            model: The model; without adapters where it is copied.
            values: Weights that stand in for its own, by name.
            device: Where a copy is made; None: where the weights are.
        """
        return joined(model, values, device) if self.divides or values is not None else model

    def replicate(self, model: nn.Module) -> Network:
        """Return what calls ``model`` such that backward passes average its gradients over the processes."""
        if self._accelerator is None or self.divides:
            return model
        # Accelerate keeps what it prepared for its own checkpoints; ours do not need it.
        self._accelerator.free_memory()
        network: Network = self._accelerator.prepare_model(model)
        return network

    def average(self, value: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes, without a gradient."""
        if self._accelerator is None:
            return value
        mean: Tensor = self._accelerator.reduce(value.detach().clone(), reduction="mean")
        return mean

    def mean(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the mean of each metric over the processes."""
        if self._accelerator is None or not metrics:
            return dict(metrics)
        values = torch.tensor(list(metrics.values()), dtype=torch.float64, device=self.device)
        return dict(zip(metrics, self.average(values).tolist(), strict=True))

    def mean_of(self, value: float) -> float:
        """Return the mean of one number over the processes."""
        return self.mean({"value": value})["value"]

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any process."""
        return self.mean_of(float(flag)) > 0

    def decided(self, flag: bool) -> bool:
        """Return ``flag`` as it is in the first process: what depends on time or on files, one decides for all."""
        return self.any(flag and self.main)

    def told(self, text: str) -> str:
        """Return ``text`` as it is in the first process."""
        if self._accelerator is None:
            return text
        own = text.encode() if self.main else b""
        # A sum to which the others add nothing is a broadcast; averages divide by the count.
        length = round(self.mean_of(float(len(own))) * self.count)
        letters = torch.zeros(length, dtype=torch.float64, device=self.device)
        if self.main:
            letters += torch.tensor(list(own), dtype=torch.float64, device=self.device)
        sent = (self.average(letters) * self.count).round().to(torch.uint8)
        return bytes(sent.tolist()).decode()

    def wait(self) -> None:
        """Return when every process has come so far."""
        if self._accelerator is not None:
            self.any(False)

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Run the block in the first process of each machine, then in the others, which find what it left behind."""
        if self._accelerator is None:
            yield
            return
        ahead = self._accelerator.is_local_main_process
        if not ahead:
            self.wait()
        yield
        if ahead:
            self.wait()


#: No other process.
ALONE = Processes(torch.device("cpu"))


def join_processes(device: str) -> Processes:
    """Return this process with those that were launched beside it, on its device.

    Args:
        device: ``--device``. Among several processes ``auto`` gives each its own GPU.

    Raises:
        UsageError: The device does not exist, or the launcher was told what this program does otherwise.
    """
    if process_count() == 1:
        return Processes(pick_device(device))
    if device not in ("auto", "cpu"):
        what = f"--device {device} names one device, and {process_count()} processes were launched"
        raise UsageError(what, "Leave it out: each process takes a GPU of its own")
    check_launcher()
    return _join(cpu=device == "cpu" or not torch.cuda.is_available())


def _join(cpu: bool) -> Processes:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=cpu, mixed_precision="no")
    # Not sooner: a process may run several commands in turn.
    atexit.register(_leave)
    return Processes(accelerator.device, accelerator, _make_mesh(accelerator) if divides_weights() else None)


def _make_mesh(accelerator: Any) -> DeviceMesh:
    from torch.distributed.device_mesh import init_device_mesh

    return init_device_mesh(accelerator.device.type, (accelerator.num_processes,))


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
