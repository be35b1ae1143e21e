"""A Ray cluster: every job is a task with its share of a GPU, and a node that is lost costs its running jobs alone."""

from __future__ import annotations

import os
from typing import Any

from geotrap_cli.bench.executors.base import Perform
from geotrap_cli.bench.grid import RayTable
from geotrap_cli.bench.job import Job, Outcome
from geotrap_cli.errors import GeotrapError


class RayCluster:
    """Does jobs as tasks of the cluster that ``RAY_ADDRESS`` names, else of one that it starts for this machine alone.

    Every node has to see the folder of the grid's runs under the same path.

    Args:
        perform: Does one job.
        table: What a job takes of the cluster.

    Raises:
        GeotrapError: Ray is not installed, or no node of the cluster has what a job takes.
    """

    def __init__(self, perform: Perform, table: RayTable) -> None:
        self._ray = _load_ray()
        self._began = not self._ray.is_initialized()
        if self._began:
            # Left to itself, Ray would take the address of the network for a cluster of one machine, too.
            alone = {} if os.environ.get("RAY_ADDRESS") else {"address": "local", "_node_ip_address": "127.0.0.1"}
            self._ray.init(log_to_driver=False, include_dashboard=False, **alone)
        self._needs = {"CPU": table.cpus, "GPU": table.gpus}
        # A task that dies is begun again by the schedule, which counts how often.
        options = {"num_cpus": table.cpus, "num_gpus": table.gpus, "max_retries": 0, "max_calls": 1}
        self._task = self._ray.remote(**options)(perform)
        self._running: dict[Any, Job] = {}
        if not any(self._fits(node["Resources"]) for node in self._nodes()):
            self.close()
            what = f"no node of the Ray cluster has {table.cpus:g} CPU cores and {table.gpus:g} GPUs for a cell"
            raise GeotrapError(what, "Lower cpus and gpus in the table [ray] of the grid, or add such a node")

    @property
    def slots(self) -> int:
        """How many jobs the nodes that are there now can do at once; at least one, which then waits for a node."""
        return max(1, sum(self._fits(node["Resources"]) for node in self._nodes()))

    def submit(self, job: Job) -> None:
        """Hand a job to the cluster."""
        self._running[self._task.remote(job)] = job

    def wait(self) -> list[Outcome]:
        """Return the outcomes of the tasks that have ended."""
        done, _ = self._ray.wait(list(self._running), num_returns=1)
        return [self._outcome(reference) for reference in done]

    def close(self) -> None:
        """Cancel what is under way, and leave the cluster."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running = {}
        if self._began:
            self._ray.shutdown()

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _fits(self, resources: dict[str, float]) -> int:
        """How many jobs fit on a node."""
        return min(int(resources.get(name, 0.0) / share) for name, share in self._needs.items() if share)

    def _outcome(self, reference: Any) -> Outcome:
        job = self._running.pop(reference)
        try:
            outcome: Outcome = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            # The job itself returns its errors: this is a worker or a node that is gone.
            text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            return Outcome(job.name, error=text, lost=True)
        return outcome


def _load_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise GeotrapError("--executor ray needs Ray", "Install it with pip install 'geotrap[ray]'") from error
    return ray
