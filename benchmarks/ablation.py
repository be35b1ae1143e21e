"""What each mechanism is worth: one profile a mechanism over one base, trained and attacked over several seeds.

Run ``python benchmarks/ablation.py --out FOLDER [--only NAME ...] [--seeds 0 1 2] [--dry-run]``. The profiles lie in
``benchmarks/ablation``; NAME may be a pattern such as ``'robust_*'``, and the base is always among them, because
every row is compared with it. Everything lies in FOLDER: the runs, a JSON file a cell (mechanism, seed) in ``cells``,
``table.md`` and ``table.csv``. Start it again to go on: what is finished under the very same profile is not computed
again, and the attacks on the undefended weights are measured once a seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import functools
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _ablation_table import BASE, make_rows, rows_to_csv, to_markdown
from _grid import (
    compare_objects,
    earlier_runs,
    finish_attacks,
    finish_training,
    in_own_process,
    peak_memory,
    profile_digest,
)
from rich.console import Console

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import suggestion
from geotrap_cli.profile.files import purpose
from geotrap_cli.profile.load import LoadedProfile, load_profile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.run_folder import read_json
from geotrap_cli.runs import RunFolder, open_run
from geotrap_cli.training.estimate import duration, plan_defense
from geotrap_cli.training.precision import pick_device
from geotrap_cli.training.robust.cost import extra_passes

PROFILES = Path(__file__).resolve().parent / "ablation"
#: Forward passes that a backward pass is worth, and those of an attack step on one object.
BACKWARD, ATTACK_STEP = 2, 3
#: Those of a plain defense step: target and source objects forward and backward, and the teacher.
PLAIN_STEP = 2 * (1 + BACKWARD) + 1
#: Those of a vector of a sensitivity term.
DYNAMIC_VECTOR = 4 * BACKWARD


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        out: Where everything lies.
        profiles: Folder of the profiles, ``base.toml`` among them.
        overrides: Changes of every profile.
        device: Where to compute.
    """

    out: Path
    profiles: Path
    overrides: tuple[str, ...]
    device: str

    @property
    def options(self) -> CommonOptions:
        """Options that all runs share; in one folder, so that the undefended weights are attacked once a seed."""
        return CommonOptions(device=self.device, runs=self.out / "runs")

    @functools.cached_property
    def mechanisms(self) -> list[str]:
        """Names of all profiles, the base first."""
        names = sorted(path.stem for path in self.profiles.glob("*.toml"))
        if BASE not in names:
            raise UsageError(f"{self.profiles} has no {BASE}.toml", hint="name the folder with the profiles")
        return [BASE, *(name for name in names if name != BASE)]


@dataclass(frozen=True)
class GridCell:
    """One mechanism under one seed."""

    study: Study
    mechanism: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its file and of its runs."""
        return f"{self.mechanism}-seed{self.seed}"

    @property
    def file(self) -> Path:
        """Where its record lies."""
        return self.study.out / "cells" / f"{self.name}.json"

    @property
    def loaded(self) -> LoadedProfile:
        """Its profile, under its own name."""
        return _load(self)

    def record(self) -> dict[str, Any] | None:
        """What was measured under this very profile; None where nothing was."""
        if not self.file.exists():
            return None
        found = read_json(self.file)
        return found if found["profile"] == profile_digest(self.loaded.profile) else None


@functools.cache
def _load(cell: GridCell) -> LoadedProfile:
    overrides = [*cell.study.overrides, f"train.seed={cell.seed}", f"attack.seed={cell.seed}"]
    loaded = load_profile(cell.study.profiles / f"{cell.mechanism}.toml", overrides, env={})
    return dataclasses.replace(loaded, name=cell.name)


def choose(study: Study, only: Sequence[str], seeds: Sequence[int]) -> list[GridCell]:
    """The cells of the mechanisms that ``only`` names, all where it is empty; seed by seed, the base first.

    Raises:
        UsageError: A name or a pattern fits no profile.
    """
    for name in only:
        if not fnmatch.filter(study.mechanisms, name):
            raise UsageError(f"no profile '{name}' in {study.profiles}", hint=suggestion(name, study.mechanisms))
    chosen = [
        mechanism
        for mechanism in study.mechanisms
        if not only or mechanism == BASE or any(fnmatch.fnmatchcase(mechanism, name) for name in only)
    ]
    return [GridCell(study, mechanism, seed) for seed in dict.fromkeys(seeds) for mechanism in chosen]


def run_cell(cell: GridCell) -> None:
    """Train and attack one cell, or go on where an earlier try ended, and write its record."""
    began, console, options, loaded = time.perf_counter(), Console(stderr=True), cell.study.options, cell.loaded
    run = _train(cell, console)
    cells = finish_attacks(options, loaded, run.path, console)
    attacks = {
        method: [dataclasses.asdict(change) for change in compare_objects(cells, method)]
        for method in loaded.profile.attack.methods
    }
    record = {
        "mechanism": cell.mechanism,
        "seed": cell.seed,
        "profile": profile_digest(loaded.profile),
        "cost": run.manifest.get("cost"),
        "seconds": time.perf_counter() - began,
        "attacks": attacks,
    }
    write_json(cell.file, record)


def _train(cell: GridCell, console: Console) -> RunFolder:
    """The finished training of a cell; one that takes place now notes what it cost in the run's manifest.

    One that was interrupted is not continued: its cost would be that of the rest alone.
    """
    options, loaded, began = cell.study.options, cell.loaded, time.process_time()
    before = {run.path for run in earlier_runs("train", options, loaded)}
    run = open_run(finish_training(options, loaded, console, resume=False))
    if run.path not in before:
        device = pick_device(options.device)
        # CPU time hardly changes with what else the machine does; a CPU that waits for a GPU says nothing.
        seconds = time.process_time() - began if device.type == "cpu" else run.summary()["seconds"]
        run.record(cost={"seconds": seconds, "memory": peak_memory(device)})
    return run


def forward_passes(profile: Profile, subjects: int) -> float:
    """Work of a cell in forward passes of one object: training, audit, and attacks on one or two sets of weights."""
    train, attack, objects = profile.train, profile.attack, profile.eval.objects
    extra = extra_passes(profile.robust)
    a_step: float = PLAIN_STEP + extra.forward + BACKWARD * extra.backward
    tables = [trap.dynamic for trap in profile.traps.values() if trap.dynamic is not None]
    a_step += sum((1 + DYNAMIC_VECTOR * table.probes) / table.every for table in tables)
    # Source objects are measured before and after, so that there are two more evaluations, and one before the attack.
    one_attack = attack.steps * attack.batch_size * ATTACK_STEP + (attack.evaluations + 3) * objects
    audit = 4 * objects
    return train.steps * train.batch_size * a_step + audit + subjects * len(attack.methods) * one_attack


def work(cell: GridCell) -> float:
    """Forward passes of a cell; the base, and who attacks another undefended model, also pay for that attack."""
    base = GridCell(cell.study, BASE, cell.seed).loaded.profile
    profile = cell.loaded.profile
    alone = cell.mechanism == BASE or profile.model != base.model
    return forward_passes(profile, 2 if alone else 1)


def seconds_a_pass(cells: Sequence[GridCell]) -> float:
    """Median over the finished cells; where none is finished, the estimate of ``geotrap train --dry-run``."""
    done = [record["seconds"] / work(cell) for cell in cells if (record := cell.record())]
    if done:
        return statistics.median(done)
    base = GridCell(cells[0].study, BASE, cells[0].seed).loaded
    plan = plan_defense(cells[0].study.options, base)
    return sum(plan.seconds(phase) for phase in plan.phases) / forward_passes(base.profile, 0)


def write_tables(study: Study) -> str:
    """Write ``table.md`` and ``table.csv`` from all finished cells of the folder, and return the former."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for mechanism in study.mechanisms:
        seeds = sorted(int(file.stem.rpartition("-seed")[2]) for file in _files(study, mechanism))
        records = {seed: GridCell(study, mechanism, seed).record() for seed in seeds}
        found[mechanism] = {seed: record for seed, record in records.items() if record is not None}
    rows = make_rows(found)
    text = to_markdown(rows)
    write_text(study.out / "table.md", text)
    write_text(study.out / "table.csv", rows_to_csv(rows))
    return text


def _files(study: Study, mechanism: str) -> list[Path]:
    return [file for file in (study.out / "cells").glob("*.json") if file.stem.rpartition("-seed")[0] == mechanism]


def show_plan(cells: Sequence[GridCell], console: Console) -> None:
    """Print every cell with what it does and its estimated time, then the time of those that are left."""
    pace, left = seconds_a_pass(cells), 0.0
    for cell in cells:
        seconds, done = pace * work(cell), cell.record() is not None
        left += 0.0 if done else seconds
        state = "done" if done else duration(seconds)
        print(f"{cell.name:<36} {state:>8}  {purpose(cell.study.profiles / f'{cell.mechanism}.toml')}")
    todo = sum(cell.record() is None for cell in cells)
    console.print(f"{todo} of {len(cells)} cells left, about {left / 3600:.1f} h", highlight=False)


def run_grid(cells: Sequence[GridCell], console: Console) -> list[str]:
    """Run the cells that are left, each in a process of its own, and return what failed, one line each."""
    study, failures = cells[0].study, []
    todo = [cell for cell in cells if cell.record() is None]
    for index, cell in enumerate(todo, start=1):
        left = seconds_a_pass(cells) * sum(work(one) for one in todo[index - 1 :])
        console.print(f"[{index}/{len(todo)}] {cell.name}, {duration(left)} left", highlight=False, markup=False)
        try:
            in_own_process(run_cell, cell)
        except (GeotrapError, BrokenProcessPool) as error:
            # The other cells do not depend on it, except that a base's place in the table stays empty.
            failures.append(f"{cell.name}: {error}")
            console.print(failures[-1], style="red", highlight=False, markup=False)
        write_tables(study)
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the grid, or what is left of it, and print the table; 1 where a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="profiles to run; all by default")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every profile; repeatable")
    parser.add_argument("--profiles", type=Path, default=PROFILES, help="folder of base.toml and the mechanisms")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dry-run", action="store_true", help="print the cells and the time they would take")
    given = parser.parse_args(arguments)
    console = Console(stderr=True)
    study = Study(given.out.resolve(), given.profiles.resolve(), tuple(given.set), given.device)
    try:
        cells = choose(study, given.only, given.seeds)
        for cell in cells:
            profile_digest(cell.loaded.profile)  # what is wrong with any profile shows before the first hour
    except GeotrapError as error:
        parser.error(str(error))
    if given.dry_run:
        show_plan(cells, console)
        return 0
    failures = run_grid(cells, console)
    print(write_tables(study), end="")
    for line in failures:
        console.print(line, style="red", highlight=False, markup=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
