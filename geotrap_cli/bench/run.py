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
from geotrap_cli.bench.estimate import BenchDryRun, estimate_jobs
from geotrap_cli.bench.executors.base import Executor
from geotrap_cli.bench.executors.in_process import InProcess
from geotrap_cli.bench.executors.local import LocalProcesses
from geotrap_cli.bench.executors.ray_cluster import RayCluster
from geotrap_cli.bench.grid import load_grid
from geotrap_cli.bench.job import Job, Outcome
from geotrap_cli.bench.plan import BenchPlan, plan_bench
from geotrap_cli.bench.progress import Reporter
from geotrap_cli.bench.request import BenchRequest
from geotrap_cli.bench.results import Results, import_stores
from geotrap_cli.bench.schedule import Schedule
from geotrap_cli.bench.work import peaks_of, perform
from geotrap_cli.bench.write import board_document, summary, write_board
from geotrap_cli.errors import GeotrapError
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.attack_runs import Selection
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
        console.print(Text("\nnot tested", style="bold"))
        for line in not_tested_lines(self.board):
            console.print(Text(f"  {line}"), soft_wrap=True)
        console.print(Text(f"\n{summary(self.board)}"), soft_wrap=True)
        for what, path in self.files.items():
            console.print(Text(f"{what}: {path}"), soft_wrap=True)


def run_bench(options: CommonOptions, request: BenchRequest, console: Console) -> BenchResult | BenchDryRun:
    """Do what the grid lacks and return its leaderboard.

    Finished cells are not run again: those of the folder's store, and with ``request.stores`` of others.

    Raises:
        UsageError: The grid, a profile, a store or an option is wrong.
        GeotrapError: Another process works on the grid, or the executor cannot be had.
    """
    loaded = load_grid(request.file)
    root = options.runs_root / f"bench-{loaded.name}"
    plan = plan_bench(loaded, dataclasses.replace(options, runs=root))
    if options.dry_run:
        left = left_to_do(plan, Results.read(root, request.stores))
        return BenchDryRun(plan, left, estimate_jobs(left), request.slots, str(root))
    root.mkdir(parents=True, exist_ok=True)
    with _only_one(root):
        say = _teller(console, options)
        taken = import_stores(root, request.stores)
        if request.stores:
            say(f"{plural(taken, 'new cell')} taken from {', '.join(map(str, request.stores))}")
        results = Results.read(root)
        left = left_to_do(plan, results)
        failed = _work(plan, left, results, request, say) if left else {}
        board = make_board(plan, Results.read(root), root, failed)
        return BenchResult(board, root, write_board(board, root), failed)


def left_to_do(plan: BenchPlan, results: Results) -> list[Job]:
    """Return the attacks that are not wholly measured, and the defenses that they need and that are not trained."""
    attacks = [job for job in plan.jobs if job.attack is not None and not results.is_done(job)]
    open_trainings = {job.name: job for job in plan.jobs if job.attack is None and not results.is_trained(job)}
    names = {job.name for job in attacks}
    # A defense may need the weights of another, which need not be attacked.
    needed = {need for job in attacks for need in job.needs} & open_trainings.keys()
    while needed:
        names |= needed
        needed = {need for name in needed for need in open_trainings[name].needs} & open_trainings.keys() - names
    return [job for job in plan.jobs if job.name in names]


def _work(plan: BenchPlan, left: Sequence[Job], results: Results, request: BenchRequest, say: Say) -> dict[str, str]:
    executor = _executor(plan, request)
    reporter = Reporter(len(plan.jobs), len(plan.jobs) - len(left), say)
    _take_in_done(plan, left, results, reporter)

    def on_end(job: Job, outcome: Outcome) -> None:
        reporter.ended(job, outcome, schedule.left, executor.slots)

    schedule = Schedule(left, on_end, reporter.lost)
    say(f"{plural(len(left), 'job')} to do, {request.executor}, {plural(executor.slots, 'job')} at a time")
    schedule.run(executor)
    return schedule.failed


def _take_in_done(plan: BenchPlan, left: Sequence[Job], results: Results, reporter: Reporter) -> None:
    """Let the worst case so far begin with what was measured before."""
    names = {job.name for job in left}
    for entry, loaded in plan.profiles.items():
        for job in plan.attacks(entry):
            if job.name not in names:
                selection = Selection(loaded.profile, "", "", None, [], "", {}, [])
                results.add_pairs(job, selection)
                reporter.worst.add(entry, peaks_of(selection.pairs))


def _executor(plan: BenchPlan, request: BenchRequest) -> Executor:
    if request.executor == "ray":
        return RayCluster(perform, plan.grid.grid.ray)
    if request.executor == "local":
        return LocalProcesses(perform, request.slots, _gpus(plan))
    return InProcess(perform)


def _gpus(plan: BenchPlan) -> int:
    """Return the number of GPUs to share out; none where the user named a device."""
    import torch

    return torch.cuda.device_count() if plan.jobs[0].options.device == "auto" else 0


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
