"""How fast the parts of a step could be at best: the arithmetic they cannot avoid, and the memory they must touch.

The floor of a part is the longer of two times. Its floating-point operations, those of matrix products and
convolutions, at the rate of a large matrix product; and its compulsory bytes, each tensor that comes in or goes out
once, at the rate of a large copy. What lies between is free: activations may be recomputed, sums and blending ride
along. No program reaches it, but for tensors that stay in a cache; it says which part still has room.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from geotrap_cli.training.precision import resolve_precision

MATRIX = {"cuda": 8192, "cpu": 1024}
"""Side of the square matrices whose product gives the rate that is within reach."""
COPIED = {"cuda": 1 << 30, "cpu": 1 << 28}
"""Bytes of the tensor whose copy gives the rate of memory; far beyond any cache."""
TRIES = 8
ADAMW = 7
"""Passes of AdamW over the size of the weights: weight, gradient and two moments in, all but the gradient out."""


@dataclass
class Tally:
    """Counts the operations of the parts of a step; what a clock is for seconds.

    Attributes:
        device: Where the parts run.
        operations: Floating-point operations of matrix products and convolutions, by part.
    """

    device: torch.device
    operations: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the operations of the block as the part ``name``."""
        with FlopCounterMode(display=False) as counter:
            yield
        self.operations[name] = self.operations.get(name, 0) + counter.get_total_flops()


@dataclass(frozen=True)
class Floor:
    """What a part cannot do without.

    Attributes:
        operations: Floating-point operations.
        bytes: Bytes that come in or go out.
        seconds: The least time for both, at the rates that were measured.
    """

    operations: float
    bytes: float
    seconds: float


@dataclass(frozen=True)
class Rates:
    """What a device can do.

    Attributes:
        product: Floating-point operations a second of a large matrix product, in the precision that a network has.
        memory: Bytes a second that a large copy reads and writes.
        link: Bytes a second from pinned memory to the device; None where they are the same memory.
    """

    product: float
    memory: float
    link: float | None

    def __str__(self) -> str:
        link = "" if self.link is None else f", from the host {self.link / 1e9:.3g} GB/s"
        return f"matrix product {self.product / 1e12:.3g} TFLOP/s, memory {self.memory / 1e9:.3g} GB/s{link}"

    def floor(self, operations: float, bytes: float, over_link: bool = False) -> Floor:
        """Return the floor of a part; with ``over_link`` its bytes cross from the host to the device."""
        rate = self.link if over_link else self.memory
        return Floor(operations, bytes, max(operations / self.product, bytes / rate if rate else 0.0))


def measure_rates(device: torch.device) -> Rates:
    """Measure all rates of a device."""
    side = MATRIX[device.type]
    dtype = torch.bfloat16 if resolve_precision("auto", device) == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    size = COPIED[device.type]
    full, empty = (torch.ones(size, device=device, dtype=torch.uint8) for _ in range(2))
    product = 2 * side**3 / _least(lambda: a @ b, device)
    memory = 2 * size / _least(lambda: empty.copy_(full), device)
    if device.type != "cuda":
        return Rates(product, memory, None)
    held = torch.ones(size, dtype=torch.uint8).pin_memory()
    return Rates(product, memory, size / _least(lambda: full.copy_(held, non_blocking=True), device))


def _least(work: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(TRIES):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def size_of(*tensors: Tensor) -> int:
    """Return the bytes of tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
