"""Progress on stderr: a live bar on a terminal, plain lines when piped, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column


def shorten(metrics: Mapping[str, float], keys: tuple[str, ...]) -> str:
    """Return ``name value`` for those of ``keys`` that are present, four significant digits each."""
    return "  ".join(f"{key} {metrics[key]:.4g}" for key in keys if key in metrics)


class StepProgress:
    """Shows how far a sequence of steps is and its newest metrics.

    Args:
        console: Where to write; results go elsewhere, so this is stderr.
        description: What is counted.
        total: Number of steps.
        shown: Names of the metrics to print, in order.
        every: Steps between two plain lines when the console is no terminal.
        quiet: Print nothing.
    """

    def __init__(
        self,
        console: Console,
        description: str,
        total: int,
        shown: tuple[str, ...],
        every: int = 10,
        quiet: bool = False,
    ) -> None:
        self.console, self.description, self.total, self.shown = console, description, total, shown
        self.every, self.quiet = max(1, every), quiet
        self._bar: Progress | None = None
        self._first: tuple[int, float] | None = None

    def __enter__(self) -> StepProgress:
        if not self.quiet and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", table_column=Column(no_wrap=True), markup=False),
                BarColumn(bar_width=12),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
                # The first to be cut where the terminal is narrow: step and time left matter more.
                TextColumn("{task.fields[note]}", style="dim", table_column=Column(no_wrap=True, ratio=1)),
                console=self.console,
                expand=True,
            )
            self._task = self._bar.add_task(self.description, total=self.total, note="", left="")
            self._bar.start()
        return self

    def update(self, step: int, metrics: Mapping[str, float], total: int | None = None) -> None:
        """Report that ``step`` steps are done, of ``total`` where that became known late."""
        self.total = self.total if total is None else total
        if self._first is None:
            self._first = (step, time.monotonic())
        note = shorten(metrics, self.shown)
        if self._bar is not None:
            left = self._eta(step).strip()
            self._bar.update(self._task, completed=step, total=self.total, note=note, left=left)
            return
        if not self.quiet and (step % self.every == 0 or step == self.total):
            line = f"{self.description} {step}/{self.total}  {note}{self._eta(step)}"
            self.console.print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)

    def _eta(self, step: int) -> str:
        assert self._first is not None
        began, when = self._first
        if step <= began or step >= self.total:
            return ""
        seconds = (time.monotonic() - when) / (step - began) * (self.total - step)
        return f"  {int(seconds) // 60}:{int(seconds) % 60:02d} left"

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
