"""Doing a job: training a defense, or attacking it. What is finished is on disk when this returns."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

from rich.console import Console

from geotrap_cli.bench.job import Job, Outcome, Peak
from geotrap_cli.errors import GeotrapError, NonFiniteError
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED
from geotrap_cli.evaluation.evaluate import FLOOR
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.reports.pairing import AttackPair, metric_values, read_pair
from geotrap_cli.reports.quality import best_quality, group_mean
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.training.attack import run_attack
from geotrap_cli.training.defense import run_defense
from geotrap_cli.training.finish import continue_run, finish_run, runs_named


def perform(job: Job) -> Outcome:
    """Do a job and tell what became of it; an error is an outcome, so that one cell cannot end a grid."""
    began = time.perf_counter()
    console = Console(stderr=True, quiet=True)
    try:
        peaks = _train(job, console) if job.attack is None else _attack(job, console)
    except Exception as error:
        diverged = isinstance(error, NonFiniteError)
        return Outcome(job.name, time.perf_counter() - began, error=_one_line(error), diverged=diverged)
    return Outcome(job.name, time.perf_counter() - began, peaks)


def _one_line(error: Exception) -> str:
    if isinstance(error, GeotrapError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split())


def _train(job: Job, console: Console) -> tuple[Peak, ...]:
    finish_run("train", run_defense, job.options, _with_weights(job), console)
    return ()


def _with_weights(job: Job) -> LoadedProfile:
    """Return the profile with the runs of those defenses whose weights this one takes."""
    loaded = job.loaded
    if not job.weights_of:
        return loaded
    table = loaded.profile.defense
    runs = {option: _trained(job, name).path.resolve() for option, name in job.weights_of.items()}
    options = table.options(table.method) | {option: str(path) for option, path in runs.items()}
    profile = loaded.profile.model_copy(update={"defense": table.model_copy(update={table.method: options})})
    return dataclasses.replace(loaded, profile=profile)


def _trained(job: Job, name: str) -> RunFolder:
    for run in runs_named(job.root, "train", name):
        if run.status == "finished":
            return run
    raise GeotrapError(f"{job.root} has no finished run {name}", "Run the same `geotrap bench` again")


def _attack(job: Job, console: Console) -> tuple[Peak, ...]:
    trained = _trained(job, job.defended)
    # One that is finished, but whose cells are not all in the store any more, is done again.
    unfinished = [run for run in runs_named(job.root, "attack", job.loaded.name) if _continues(run, trained)]
    options = dataclasses.replace(job.options, run=trained.path)
    result = continue_run(run_attack, unfinished, options, job.loaded, console)
    return peaks_of([read_pair(result.path, method) for method in result.summary()["methods"]])


def _continues(run: RunFolder, trained: RunFolder) -> bool:
    return run.status != "finished" and run.manifest.get("train_run") == str(trained.path.resolve())


def peaks_of(pairs: Sequence[AttackPair]) -> tuple[Peak, ...]:
    """Return how far each pair came."""
    return tuple(_peak(pair) for pair in pairs)


def _peak(pair: AttackPair) -> Peak:
    scores = pair.scores(UNDEFENDED, "target", 0) or []
    floor = group_mean(metric_values(scores, FLOOR), [score.group for score in scores])
    undefended, defended = (best_quality(pair, subject) for subject in (UNDEFENDED, DEFENDED))
    return Peak(pair.method, floor, undefended, defended)
