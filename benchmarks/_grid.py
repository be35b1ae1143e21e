"""What the studies that train and attack many profiles share: runs that are done once, changes by object, intervals."""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.evaluation.bootstrap import RESAMPLES, Interval, interval_of_means
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED, Cell
from geotrap_cli.evaluation.evaluate import HEADLINE, ObjectScore
from geotrap_cli.evaluation.store import content_key
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile, load_profile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.runs import RunFolder, list_runs
from geotrap_cli.training.attack import run_attack
from geotrap_cli.training.defense import run_defense
from geotrap_cli.training.finish import continue_run

Result = TypeVar("Result")
Array = NDArray[np.float64]


def profile_digest(profile: Profile) -> str:
    """A digest of every value of a profile: what was measured under another one is not this cell."""
    return content_key(profile.tables())[:16]


def earlier_runs(command: str, options: CommonOptions, loaded: LoadedProfile) -> list[RunFolder]:
    """The runs of ``command`` under exactly this profile and name, the newest first."""
    runs = [run for run in list_runs(options.runs_root) if (run.command, run.profile_name) == (command, loaded.name)]
    return [run for run in runs if _profile_of(run) == loaded.profile]


def _profile_of(run: RunFolder) -> Profile | None:
    """The profile of a run; None where it does not load any more, so that it is no profile of today."""
    try:
        return load_profile(run.profile_path, env={}).profile
    except UsageError:
        return None


def finish_training(options: CommonOptions, loaded: LoadedProfile, console: Console, resume: bool = True) -> Path:
    """The finished train run of this profile: an earlier one, with ``resume`` one that is continued, or a new one."""
    earlier = earlier_runs("train", options, loaded)
    for run in earlier:
        if run.status == "finished":
            return run.path
    unfinished = [run for run in earlier if run.status != "running"] if resume else []
    return continue_run(run_defense, unfinished, options, loaded, console).path


def finish_attacks(options: CommonOptions, loaded: LoadedProfile, train_run: Path, console: Console) -> list[Cell]:
    """Attack ``train_run``, or go on with the attack run that was interrupted; measured cells are taken over."""
    unfinished = [
        run
        for run in earlier_runs("attack", options, loaded)
        if run.status in ("failed", "interrupted") and run.manifest.get("train_run") == str(train_run.resolve())
    ]
    resume = str(unfinished[0].path) if unfinished else None
    options = dataclasses.replace(options, resume=resume, run=None if resume else train_run)
    return run_attack(options, loaded, console).cells


@dataclass(frozen=True)
class ObjectChange:
    """Foreground PSNR of one held-out object, dB, before and after an attack.

    Attributes:
        id: The object.
        group: Its group.
        split: ``target`` or ``source``.
        before: Defended less undefended, before.
        after: Defended less undefended, after.
        undefended_before: Undefended, before.
        undefended_after: Undefended, after.
    """

    id: str
    group: str
    split: str
    before: float
    after: float
    undefended_before: float
    undefended_after: float


def compare_objects(cells: Sequence[Cell], method: str) -> list[ObjectChange]:
    """What ``method`` left of the defense, object by object."""
    pair = {subject: next(c for c in cells if (c.method, c.subject) == (method, subject)) for subject in SUBJECTS}
    return [change for split in ("target", "source") for change in _compare_split(pair, split)]


def _compare_split(pair: Mapping[str, Cell], split: str) -> list[ObjectChange]:
    ends = [
        {subject: _scores(getattr(cell.evaluations[place], split)) for subject, cell in pair.items()}
        for place in (0, -1)
    ]
    changes = []
    for id, score in ends[0][DEFENDED].items():
        plain = [end[UNDEFENDED][id].metrics[HEADLINE] for end in ends]
        defended = [end[DEFENDED][id].metrics[HEADLINE] for end in ends]
        differences = [ours - theirs for ours, theirs in zip(defended, plain, strict=True)]
        changes.append(ObjectChange(id, score.group, split, *differences, *plain))
    return changes


def _scores(scores: Sequence[ObjectScore] | None) -> dict[str, ObjectScore]:
    return {score.id: score for score in scores or ()}


def values_by_object(
    seeds: Iterable[Sequence[Mapping[str, Any]]], split: str, value: Callable[[Mapping[str, Any]], float]
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """One value of every object, a list over the seeds, and the group of every object.

    Args:
        seeds: The objects of each seed, as :class:`ObjectChange` in JSON.
        split: Objects of which split.
        value: What is taken of an object.
    """
    values: dict[str, list[float]] = {}
    groups: dict[str, str] = {}
    for objects in seeds:
        for entry in objects:
            if entry["split"] == split:
                values.setdefault(entry["id"], []).append(value(entry))
                groups[entry["id"]] = entry["group"]
    return values, groups


def crossed_interval(values: Mapping[str, Sequence[float]], groups: Mapping[str, str]) -> Interval:
    """The mean over seeds and groups with a 95 % interval in which both are resampled, independently of each other.

    Every seed meets the same objects, so that neither is nested in the other (pigeonhole bootstrap, Owen 2007). With
    one seed, only groups are resampled.

    Args:
        values: One value a seed, the same seeds in the same order, by object.
        groups: The group of each object.

    Raises:
        GeotrapError: An object lacks a seed.
    """
    counts = {len(row) for row in values.values()}
    if len(counts) != 1:
        raise GeotrapError("the seeds were not measured on the same objects", hint="delete their cells and runs")
    (seeds,) = counts
    members: dict[str, list[Sequence[float]]] = {}
    for id, row in values.items():
        members.setdefault(groups[id], []).append(row)
    table: Array = np.array([np.mean(rows, axis=0) for rows in members.values()], dtype=np.float64)
    # A generator of its own: the seeds of a draw must not follow from its groups.
    draws = np.random.default_rng(1).integers(0, seeds, (RESAMPLES, seeds))

    def over_seeds(means: Array) -> Array:
        return means.mean(-1) if means.ndim == 1 else np.take_along_axis(means, draws, 1).mean(1)

    return interval_of_means(over_seeds, [table], resamples=RESAMPLES)


def in_own_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call ``function`` in a fresh process, whose highest memory is then that of this call alone."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory(device: torch.device) -> float:
    """Highest memory of this process so far, bytes; on CUDA, of what PyTorch allocated."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    # Kilobytes on Linux, bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
