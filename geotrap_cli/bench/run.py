"""``geotrap bench``: do what a grid still lacks, and rank its defenses by their worst case."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console
from rich.text import Text

from geotrap_cli.bench.board import Board, make_board
from geotrap_cli.bench.board_tables import attack_table, leaderboard, not_tested_lines
from geotrap_cli.bench.crew import Crew, left_to_do
from geotrap_cli.bench.estimate import BenchDryRun, estimate_jobs
from geotrap_cli.bench.grid import load_grid
from geotrap_cli.bench.job import Job
from geotrap_cli.bench.objects import check_objects
from geotrap_cli.bench.profiles import Entry
from geotrap_cli.bench.request import BenchRequest
from geotrap_cli.bench.results import Results, import_stores
from geotrap_cli.bench.tuning import Tuning, TuningState
from geotrap_cli.bench.tuning_tables import tuning_table
from geotrap_cli.bench.write import board_document, summary, write_board, write_tuning
from geotrap_cli.errors import GeotrapError
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.wording import plural

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchResult:
    """A grid that has ended.

    Attributes:
        board: The leaderboard.
        folder: Where runs, store and leaderboard lie.
        files: The files of the leaderboard, by what they are.
        failed: Why jobs failed, by name.
    """

    board: Board
    folder: Path
    files: dict[str, Path]
    failed: dict[str, str]

    @property
    def failure(self) -> GeotrapError | None:
        """Raised once the board is shown: what failed is not measured."""
        if not self.failed:
            return None
        name, why = next(iter(self.failed.items()))
        what = f"{plural(len(self.failed), 'job')} failed, {name} first: {why}"
        return GeotrapError(what, "The same command tries them again")

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        files = {what: str(path) for what, path in self.files.items()}
        return {"folder": str(self.folder), **board_document(self.board), "failed": self.failed, "files": files}

    def render(self, console: Console) -> None:
        """Print the tables, what was not tested, and where the files are."""
        console.print(leaderboard(self.board))
        console.print()
        console.print(attack_table(self.board))
        if self.board.tunings:
            console.print()
            console.print(tuning_table(self.board))
        console.print(Text("\nnot tested", style="bold"))
        for line in not_tested_lines(self.board):
            console.print(Text(f"  {line}"), soft_wrap=True)
        console.print(Text(f"\n{summary(self.board)}"), soft_wrap=True)
        for what, path in self.files.items():
            console.print(Text(f"{what}: {path}"), soft_wrap=True)


def run_bench(options: CommonOptions, request: BenchRequest, console: Console) -> BenchResult | BenchDryRun:
    """Do what the grid lacks and return its leaderboard.

    Trials of tuning come first, and what they choose is measured. Finished cells are not run again: those of the
    folder's store, and with ``request.stores`` of others.

    Raises:
        UsageError: The grid, a profile, a store or an option is wrong.
        GeotrapError: Another process works on the grid, or the executor cannot be had.
    """
    loaded = load_grid(request.file)
    # Whole, because a worker of a cluster has another working folder.
    root = (options.runs_root / f"bench-{loaded.name}").resolve()
    own = dataclasses.replace(options, runs=root)
    results = Results.read(root, request.stores)
    # What is wrong anywhere shows before anything is written.
    tuning = Tuning(loaded, own)
    state = tuning.state(results)
    check_objects([*state.undecided, *state.plan.jobs], results)
    if options.dry_run:
        return _dry_run(state, results, request, root)
    root.mkdir(parents=True, exist_ok=True)
    with _only_one(root):
        say = _teller(console, options)
        taken = import_stores(root, request.stores)
        if request.stores:
            say(f"{plural(taken, 'new cell')} taken from {', '.join(map(str, request.stores))}")
        crew = Crew(request, loaded.grid.ray, options.device, say)
        state, failed = _tune(tuning, root, crew)
        results = Results.read(root)
        failed |= crew.work(state.plan.jobs, left_to_do(state.plan.jobs, results), results)
        board = make_board(state.plan, Results.read(root), root, failed, state.decided)
        return BenchResult(board, root, write_board(board, root), failed)


def _dry_run(state: TuningState, results: Results, request: BenchRequest, root: Path) -> BenchDryRun:
    jobs = [*state.undecided, *state.plan.jobs]
    left = _distinct(left_to_do(jobs, results))
    slots = None if request.executor == "ray" else request.slots
    return BenchDryRun(state.plan, _distinct(jobs), left, estimate_jobs(left), slots, str(root))


def _distinct(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs without those that the run of an earlier one does: a first trial may be the defense itself."""
    first: dict[str, Job] = {}
    return [job for job in jobs if first.setdefault(job.loaded.name, job) is job]


def _tune(tuning: Tuning, root: Path, crew: Crew) -> tuple[TuningState, dict[str, str]]:
    """Work on trials until every entry is decided; return that, and why trials failed, by name."""
    failed: dict[str, str] = {}
    worked: list[Entry] = []
    while True:
        results = Results.read(root)
        state = tuning.state(results, worked)
        if state.decided:
            write_tuning(state.decided.values(), root)
        if not state.open:
            return state, failed
        trials = {job.name for job in state.jobs if job.trial is not None}
        why = crew.work(state.jobs, left_to_do(state.jobs, results), results, "tuning ")
        # A training of the leaderboard that failed here is tried again with its attacks.
        failed |= {name: text for name, text in why.items() if name in trials}
        worked += [trials.entry for trials in state.open]


@contextlib.contextmanager
def _only_one(root: Path) -> Iterator[None]:
    lock = FileLock(root / ".bench.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        hint = "Wait for it to end, or choose another folder with --runs and join the stores with --store"
        raise GeotrapError(f"another process works on the grid in {root}", hint) from None
    try:
        yield
    finally:
        lock.release()


def _teller(console: Console, options: CommonOptions) -> Say:
    def say(text: str) -> None:
        if not options.quiet:
            console.print(Text(text), soft_wrap=True)

    return say
