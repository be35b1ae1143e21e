"""What a store has of a grid: which jobs are done, and the pairs that they measured.

A cell belongs to a job where its weights are those of the job's defense and it was attacked with the job's settings.
Both are known from the names that the lines of the store carry, and from the finished runs that lie beside it; the
second matters where two defenses end in the same weights, as a cell is stored under the first of them alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from geotrap_cli.bench.digest import digests_of
from geotrap_cli.bench.job import Job
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.store import STORE, ResultsStore, StoredCell, merge
from geotrap_cli.plugins import load_plugin
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.pairing import AttackPair, read_pair
from geotrap_cli.reports.stored_pairs import Trial, add_trial, stored_trials, trial_of
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.runs import list_runs
from geotrap_cli.training.attack_plan import PlannedAttack, plan_attacks
from geotrap_cli.training.code_version import attack_code
from geotrap_cli.training.controls import control_subjects
from geotrap_cli.training.cross_data import open_attack_workbench
from geotrap_cli.training.meta import meta_model
from geotrap_cli.training.tuning import is_tunable

_Settings = tuple[int, str]


class Results:
    """The cells of a store, and the finished runs beside it, by the digests of jobs.

    Args:
        rows: The cells.
        runs: The finished runs.
    """

    def __init__(self, rows: Sequence[StoredCell], runs: Iterable[RunFolder]) -> None:
        self.rows = list(rows)
        self._weights: dict[str, set[str]] = {}
        self._settings: dict[str, set[_Settings]] = {}
        self._left_out: dict[str, set[str]] = {}
        self._trained: set[str] = set()
        self._objects: dict[str, str] = {}
        self._planned: dict[str, list[PlannedAttack]] = {}
        self._paired: dict[tuple[str, str], dict[Trial, dict[str, StoredCell]]] = {}
        for row in self.rows:
            digests = digests_of(row.profile_name)
            if digests and row.cell.subject == DEFENDED:
                self._weights.setdefault(digests[0], set()).add(row.weights)
                self._settings.setdefault(digests[1], set()).add((row.cell.steps, row.cell.settings))
        for run in runs:
            self._add_run(run)

    @classmethod
    def read(cls, root: Path, stores: Sequence[Path] = ()) -> Results:
        """Return what a folder of runs has, and the cells of further stores; nothing where it does not exist.

        Raises:
            UsageError: A store is missing or broken.
        """
        own = ResultsStore(root / STORE)
        found = [*([own] if own.path.is_file() else []), *(ResultsStore(path) for path in stores)]
        return cls(merge(found), [run for run in list_runs(root) if run.status == "finished"])

    def _add_run(self, run: RunFolder) -> None:
        self._objects[run.profile_name] = str(run.manifest.get("data"))
        if run.command == "train":
            digest = run.profile_name.rsplit("-", 1)[-1]
            self._trained.add(run.profile_name)
            self._weights.setdefault(digest, set()).add(str(run.manifest.get("defended")))
        elif run.command == "attack" and (digests := digests_of(run.profile_name)):
            self._left_out.setdefault(run.profile_name, set()).update(run.manifest.get("controls_left_out", {}))
            found = (read_pair(run.path, method).defended for method in run.summary()["methods"])
            self._settings.setdefault(digests[1], set()).update((cell.steps, cell.settings) for cell in found)

    def trials(self, job: Job) -> dict[Trial, dict[str, StoredCell]]:
        """Return the trials of an attack on its defense, by subject; those that lack a half are among them."""
        digests = digests_of(job.loaded.name)
        assert digests is not None and job.attack is not None, "jobs of attacks are named by their digests"
        weights, settings = self._weights.get(digests[0], set()), self._settings.get(digests[1], set())
        code = attack_code(job.loaded.profile, load_plugin("geotrap.attacks", job.attack))
        found: dict[Trial, dict[str, StoredCell]] = {}
        for row in self.rows:
            cell = row.cell
            mine = (cell.subject, cell.key, cell.seed) == (DEFENDED, job.attack, job.seed) and row.weights in weights
            if mine and (cell.steps, cell.settings) in settings and row.inputs.get("code") == code:
                trial = trial_of(row)
                found[trial] = self._trials_of(row.undefended, row.weights)[trial]
        return found

    def pairs(self, job: Job) -> list[AttackPair]:
        """Return the complete pairs of an attack on its defense."""
        selection = Selection(job.loaded.profile, "", "", None, [], "", {}, [])
        self.add_pairs(job, selection)
        return selection.pairs

    def _trials_of(self, undefended: str, defended: str) -> dict[Trial, dict[str, StoredCell]]:
        pair = (undefended, defended)
        if pair not in self._paired:
            self._paired[pair] = stored_trials(self.rows, {UNDEFENDED: undefended, DEFENDED: defended})
        return self._paired[pair]

    def is_trained(self, job: Job) -> bool:
        """Whether the weights of a job's defense are on this machine."""
        return job.defended in self._trained

    def objects(self, run: str) -> str | None:
        """Return the fingerprint of the data that a finished run worked on, by the name of its profile."""
        return self._objects.get(run)

    def is_done(self, job: Job) -> bool:
        """Whether an attack has every pair of cells, and every control that can be run beside it."""
        trials = self.trials(job)
        pairs = [cells for cells in trials.values() if all(subject in cells for subject in SUBJECTS)]
        measured = {cells[DEFENDED].cell.method for cells in pairs}
        if not all(_is_among(planned, job, measured) for planned in self._variants(job)):
            return False
        # A finished run says which controls could not be run; a store alone does not.
        left_out = self._left_out.get(job.loaded.name, set())
        controls = control_subjects(job.loaded.profile.attack.controls)
        return all(
            name in cells or f"{cells[DEFENDED].cell.method}-{name}" in left_out for cells in pairs for name in controls
        )

    def _variants(self, job: Job) -> list[PlannedAttack]:
        """Return what an attack is run as; it is the same for every defense and seed."""
        digest = job.loaded.name.rpartition("-")[2]
        if digest not in self._planned:
            profile = job.loaded.profile
            planned = plan_attacks(profile)
            if len(planned) > 1:
                # Variants may depend on how many target objects the attacker has.
                bench = open_attack_workbench(profile, torch.device("cpu"), meta_model(profile))
                planned = plan_attacks(profile, len(bench.splits.attack_target))
            self._planned[digest] = planned
        return self._planned[digest]

    def add_pairs(self, job: Job, selection: Selection) -> None:
        """Add the pairs of an attack to a selection; what lacks its half is noted there."""
        for trial, cells in self.trials(job).items():
            add_trial(trial, cells, selection)


def import_stores(root: Path, stores: Sequence[Path]) -> int:
    """Take the cells of other stores into that of ``root``; return how many were new.

    Raises:
        UsageError: A store is missing or broken.
    """
    own = ResultsStore(root / STORE)
    known = {row.key for row in own.rows()} if own.path.is_file() else set()
    new = [row for row in merge(ResultsStore(path) for path in stores) if row.key not in known] if stores else []
    for row in new:
        own.append(row)
    return len(new)


def _is_among(planned: PlannedAttack, job: Job, measured: set[str]) -> bool:
    tuned = job.loaded.profile.attack.tune.trials and is_tunable(planned)
    return planned.method in measured and (
        not tuned or any(name.startswith(f"{planned.method}-tuned") for name in measured)
    )
