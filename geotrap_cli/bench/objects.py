"""Whether the objects of a grid are those that its folder was measured on: data may change behind an unchanged path."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from geotrap_cli.bench.job import Job
from geotrap_cli.bench.results import Results
from geotrap_cli.errors import UsageError
from geotrap_cli.training.cross_data import open_attack_workbench
from geotrap_cli.training.meta import meta_model
from geotrap_cli.training.workbench import open_workbench


def check_objects(jobs: Iterable[Job], results: Results) -> None:
    """Check that finished runs worked on the data that the profiles open now.

    Raises:
        UsageError: They did not.
    """
    now: dict[tuple[str, bool], str | None] = {}
    for job in jobs:
        before = results.objects(job.loaded.name)
        if before is None:
            continue
        # All jobs of a profile have one data set, which is slow to read, but for attackers with one of their own.
        place = (job.entry[0], job.attack is not None and job.loaded.profile.attack.data is not None)
        if place not in now:
            now[place] = _fingerprint(job)
        if now[place] not in (before, None):
            what = f"the data of profile '{job.entry[0]}' are not those that {job.root} was measured on"
            raise UsageError(what, "Bring those back, or choose another folder with --runs")


def _fingerprint(job: Job) -> str | None:
    """Return the fingerprint; None for data that are not here, which is for the jobs to say if any are left."""
    profile, device = job.loaded.profile, torch.device("cpu")
    opened = open_workbench if job.attack is None else open_attack_workbench
    try:
        return opened(profile, device, meta_model(profile)).dataset.fingerprint()
    except UsageError:
        return None
