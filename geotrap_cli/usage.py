"""What a computation uses beside its result: time, samples, rendered pixels, memory, GPU-hours."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_SECONDS_AN_HOUR = 3600.0


@dataclass(frozen=True)
class Usage:
    """What a training or an attack used, the parts before interruptions included.

    Attributes:
        seconds: Duration.
        samples: Objects that gradients were taken of.
        rendered_pixels: Pixels of every image that was rendered, in all processes, evaluations included.
        peak_memory: Most memory in use at once (bytes): on CUDA what tensors of the first process took, on the CPU all
            that its process had resident since it began.
        gpus: GPUs that were held.
    """

    seconds: float
    samples: int
    rendered_pixels: int
    peak_memory: int
    gpus: int

    @property
    def samples_per_second(self) -> float | None:
        """Objects a second; None where no time passed."""
        return self.samples / self.seconds if self.seconds > 0 else None

    @property
    def gpu_hours(self) -> float:
        """Hours times GPUs; 0 on the CPU."""
        return self.gpus * self.seconds / _SECONDS_AN_HOUR

    def payload(self) -> dict[str, Any]:
        """Return the usage as JSON values."""
        fields = dataclasses.asdict(self)
        return {**fields, "samples_per_second": self.samples_per_second, "gpu_hours": self.gpu_hours}


def total_usage(parts: Iterable[Usage]) -> Usage | None:
    """Return what computations used one after the other; None where there is none."""
    found = list(parts)
    if not found:
        return None
    return Usage(
        seconds=sum(part.seconds for part in found),
        samples=sum(part.samples for part in found),
        rendered_pixels=sum(part.rendered_pixels for part in found),
        peak_memory=max(part.peak_memory for part in found),
        gpus=max(part.gpus for part in found),
    )


class PixelTally:
    """Counts the pixels that are rendered while it is counting."""

    def __init__(self) -> None:
        self.pixels = 0


_counting: list[PixelTally] = []


def count_pixels(pixels: int) -> None:
    """Note that so many pixels were rendered."""
    for tally in _counting:
        tally.pixels += pixels


class UsageMeter:
    """Measures what happens while it is watching.

    Args:
        device: Where the computation runs.
        processes: How many share it; each renders an equal part.
        seconds: Duration of the part before an interruption.
        pixels: Pixels rendered in that part, by all processes.
    """

    def __init__(self, device: torch.device, processes: int = 1, seconds: float = 0.0, pixels: int = 0) -> None:
        self._device, self._processes, self._pixels = device, processes, pixels
        self._tally = PixelTally()
        self._began = time.perf_counter() - seconds

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Count the pixels that are rendered inside, and on CUDA the memory that is used inside."""
        if self._device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(self._device)
        _counting.append(self._tally)
        try:
            yield
        finally:
            _counting.remove(self._tally)

    @property
    def seconds(self) -> float:
        """Duration up to now."""
        return time.perf_counter() - self._began

    @property
    def pixels(self) -> int:
        """Pixels rendered up to now, by all processes."""
        return self._pixels + self._processes * self._tally.pixels

    def so_far(self, samples: int) -> Usage:
        """Return what was used up to now for ``samples`` objects."""
        gpus = self._processes if self._device.type == "cuda" else 0
        return Usage(self.seconds, samples, self.pixels, peak_memory(self._device), gpus)


def peak_memory(device: torch.device) -> int:
    """Return the most memory in use at once up to now (bytes), as :class:`Usage` says."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
