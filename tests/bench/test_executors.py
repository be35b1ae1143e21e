"""Local processes and Ray: a killed worker takes its own job with it and nothing else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.bench.executors.local import LocalProcesses, share_of_machine
from geotrap_cli.bench.grid import RayTable
from geotrap_cli.bench.job import Job, Outcome
from geotrap_cli.bench.schedule import Schedule
from geotrap_cli.errors import GeotrapError

Make = Callable[..., Job]

LIGHT = '''
import os, time
from pathlib import Path
import torch
from geotrap_cli.bench.job import Outcome

FOLDER = Path({folder!r})


def perform(job):
    """Tells its process; the job `slow` waits there to be killed the first time."""
    first = not (FOLDER / job.name).exists()
    (FOLDER / job.name).write_text(str(os.getpid()))
    if job.name == "slow" and first:
        time.sleep(120)
    if job.name == "bad":
        return Outcome(job.name, error="bad")
    return Outcome(job.name, seconds=float(torch.get_num_threads()))
'''


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that processes of their own can import."""
    import importlib
    import sys

    (tmp_path / "light_work.py").write_text(LIGHT.format(folder=str(tmp_path)))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("light_work")
    del sys.modules["light_work"]


def kill_when_written(file: Path) -> None:
    """Kill the process whose number is in a file, once it is there."""
    for _ in range(1200):
        if file.exists() and file.read_text():
            os.kill(int(file.read_text()), signal.SIGKILL)
            return
        time.sleep(0.05)
    raise AssertionError(f"{file} was never written")


def run_with_a_kill(executor: Any, jobs: list[Job], folder: Path) -> tuple[Schedule, list[str], list[str]]:
    """Run jobs, and kill the worker of `slow` as soon as another job has ended."""
    ended: list[str] = []
    lost: list[str] = []

    def on_end(job: Job, outcome: Outcome) -> None:
        if not ended:
            kill_when_written(folder / "slow")
        ended.append(job.name)

    schedule = Schedule(jobs, on_end, lambda job, outcome: lost.append(f"{job.name}: {outcome.error}"))
    schedule.run(executor)
    return schedule, ended, lost


def test_a_killed_process_costs_its_own_job_only(light: Any, make_job: Make, tmp_path: Path) -> None:
    jobs = [make_job("slow"), make_job("quick"), make_job("bad")]
    schedule, ended, lost = run_with_a_kill(LocalProcesses(light.perform, 2), jobs, tmp_path)
    assert lost == [f"slow: its process ended with exit code {-signal.SIGKILL}"]
    assert sorted(ended) == ["bad", "quick", "slow"]
    assert schedule.failed == {"bad": "bad"}


def test_threads_are_shared_before_anything_reads_how_many(
    light: Any, make_job: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    executor = LocalProcesses(light.perform, 2)
    executor.submit(make_job("quick"))
    (outcome,) = executor.wait()
    assert outcome.seconds == 1
    assert "OMP_NUM_THREADS" not in os.environ


def test_closing_ends_what_is_under_way(light: Any, make_job: Make, tmp_path: Path) -> None:
    executor = LocalProcesses(light.perform, 1)
    executor.submit(make_job("slow"))
    process = executor._workers[0].process
    while not (tmp_path / "slow").exists():
        time.sleep(0.05)
    assert process.pid is not None and os.getpgid(process.pid) != os.getpgid(0), "Ctrl-C at a terminal reaches it, too"
    executor.close()
    assert not process.is_alive()


@pytest.mark.parametrize(
    ("slot", "gpus", "environment", "expected"),
    [
        (0, 0, {}, {"OMP_NUM_THREADS", "NUMBA_NUM_THREADS"}),
        (1, 2, {"OMP_NUM_THREADS": "3"}, {"NUMBA_NUM_THREADS", "CUDA_VISIBLE_DEVICES"}),
    ],
)
def test_processes_share_cores_and_gpus(slot: int, gpus: int, environment: dict[str, str], expected: set[str]) -> None:
    assert share_of_machine(slot, 2, gpus, environment).keys() == expected


def test_visible_gpus_are_dealt_out_in_turn() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "4,6"}
    found = [share_of_machine(slot, 3, 2, environment)["CUDA_VISIBLE_DEVICES"] for slot in range(3)]
    assert found == ["4", "6", "4"]
    assert share_of_machine(1, 2, 2, {})["CUDA_VISIBLE_DEVICES"] == "1"


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from geotrap_cli.bench.executors.ray_cluster import RayCluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GeotrapError, match=r"geotrap\[ray\]"):
        RayCluster(lambda job: Outcome(job.name), RayTable())


class TestRay:
    @pytest.fixture
    def cluster(self, tmp_path: Path) -> Any:
        """A cluster of this machine alone, with two cores."""
        ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'geotrap[ray]'")
        here = {"address": "local", "_node_ip_address": "127.0.0.1"}
        ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, **here)
        yield ray
        ray.shutdown()

    def test_a_killed_worker_costs_its_own_job_only(
        self, cluster: Any, light: Any, make_job: Make, tmp_path: Path
    ) -> None:
        from geotrap_cli.bench.executors.ray_cluster import RayCluster

        cluster.cloudpickle.register_pickle_by_value(light)
        executor = RayCluster(light.perform, RayTable(cpus=1.0))
        assert executor.slots == 2
        jobs = [make_job("slow"), make_job("quick"), make_job("bad")]
        schedule, ended, lost = run_with_a_kill(executor, jobs, tmp_path)
        assert len(lost) == 1 and lost[0].startswith("slow: ")
        assert sorted(ended) == ["bad", "quick", "slow"]
        assert schedule.failed == {"bad": "bad"}

    def test_a_cell_that_fits_no_node_is_refused(self, cluster: Any) -> None:
        from geotrap_cli.bench.executors.ray_cluster import RayCluster

        with pytest.raises(GeotrapError, match=r"no node of the Ray cluster has 1 CPU cores and 0\.5 GPUs"):
            RayCluster(lambda job: Outcome(job.name), RayTable(cpus=1.0, gpus=0.5))
