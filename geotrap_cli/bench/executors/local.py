"""Some processes of this machine, a fresh one for each job, so that one that is killed takes one job with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from geotrap_cli.bench.executors.base import Perform
from geotrap_cli.bench.job import Job, Outcome

PATIENCE_SECONDS = 30.0
"""How long a process may take to write its checkpoint when the grid is interrupted."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass
class _Worker:
    job: Job
    process: SpawnProcess
    answer: Connection
    slot: int


class LocalProcesses:
    """Does jobs in processes of their own.

    Args:
        perform: Does one job.
        jobs: How many at once.
        gpus: GPUs that they are shared out to; with none or one, or with a device that was named, all use the same.
    """

    def __init__(self, perform: Perform, jobs: int, gpus: int = 0) -> None:
        self._perform, self.slots, self._gpus = perform, jobs, gpus
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def submit(self, job: Job) -> None:
        """Start a process for a job."""
        slot = min(set(range(self.slots)) - {worker.slot for worker in self._workers})
        variables = share_of_machine(slot, self.slots, self._gpus, os.environ)
        answer, other_end = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(self._perform, job, other_end))
        with _environment(variables):
            process.start()
        # The parent's copy has to go: only then does the pipe end with the child.
        other_end.close()
        self._workers.append(_Worker(job, process, answer, slot))

    def wait(self) -> list[Outcome]:
        """Return the outcomes of the processes that have ended."""
        ended = set(wait([worker.answer for worker in self._workers]))
        finished = [worker for worker in self._workers if worker.answer in ended]
        self._workers = [worker for worker in self._workers if worker.answer not in ended]
        return [_outcome(worker) for worker in finished]

    def close(self) -> None:
        """Ask every process to stop, which writes its checkpoint; end those that do not."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(PATIENCE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers = []


def share_of_machine(slot: int, slots: int, gpus: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which a process keeps to its share of the cores, and to one of the GPUs.

    What the user set for the number of threads stays; a list of visible GPUs is shared out instead of all.
    """
    threads = str(max(1, (os.cpu_count() or 1) // slots))
    variables = {name: threads for name in THREAD_VARIABLES if name not in environment and slots > 1}
    if gpus > 1:
        visible = environment.get(GPU_VARIABLE, "").split(",") if environment.get(GPU_VARIABLE) else range(gpus)
        names = [str(name) for name in visible]
        variables[GPU_VARIABLE] = names[slot % len(names)]
    return variables


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Start processes with these variables: torch reads them once, when the job that a process is given is unpacked."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(perform: Perform, job: Job, answer: Connection) -> None:
    # Ctrl-C at a terminal reaches every process of its group: here, close() alone is to ask for the checkpoint.
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Asked, it has written its checkpoint; the pipe then ends without an answer.
    with contextlib.suppress(KeyboardInterrupt):
        answer.send(perform(job))


def _end_with_parent() -> None:
    """End when the parent is gone: a killed grid that is started again must not compete with its own processes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _outcome(worker: _Worker) -> Outcome:
    try:
        outcome: Outcome = worker.answer.recv()
    except EOFError:
        worker.process.join()
        code = worker.process.exitcode
        return Outcome(worker.job.name, error=f"its process ended with exit code {code}", lost=True)
    finally:
        worker.answer.close()
    worker.process.join()
    return outcome
