"""The cells beside the pair of an attack: reference weights under that attack, and fine-tuning on benign objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from geotrap_cli.data.held_out import split_groups
from geotrap_cli.errors import GeotrapError
from geotrap_cli.evaluation.cells import BENIGN, REFERENCES, Cell
from geotrap_cli.profile.attack_tables import AttackTable
from geotrap_cli.training.attack_grid import AttackGrid, Site
from geotrap_cli.training.attack_plan import PlannedAttack
from geotrap_cli.training.workbench import Workbench

BENIGN_CONTROL = "benign"
HELD_OUT_SHARE = 0.5
"""Share of the benign groups that a benign control measures; target objects are shared out alike."""


def control_subjects(controls: Sequence[str]) -> tuple[str, ...]:
    """Return the subjects of the cells that ``attack.controls`` stands for, in order."""
    found: list[str] = [name for name in REFERENCES if name in controls]
    return (*found, *(BENIGN.values() if BENIGN_CONTROL in controls else ()))


def is_controlled(attack: PlannedAttack, table: AttackTable) -> bool:
    """Whether controls are run beside an attack."""
    return not table.control_attacks or attack.family in table.control_attacks


def run_controls(grid: AttackGrid, planned: Sequence[PlannedAttack]) -> list[Cell]:
    """Run the controls that the profile asks for beside its attacks, and note those that cannot be run.

    A control that an attack cannot be run on is left out with the reason; a comparison then says that it is missing.
    """
    table = grid.site.bench.profile.attack
    controls = table.controls
    sites: dict[str, Site | str] = dict.fromkeys(REFERENCES, grid.site)
    sites |= dict.fromkeys(BENIGN.values(), _benign_site(grid) if BENIGN_CONTROL in controls else "")
    missing: dict[str, str] = {}
    cells = []
    for attack in planned:
        for subject in control_subjects(controls) if is_controlled(attack, table) else ():
            cell = _control(grid, attack, subject, sites[subject])
            if isinstance(cell, Cell):
                cells.append(cell)
            else:
                missing[f"{attack.method}-{subject}"] = cell
                grid.say(f"control {attack.method}-{subject} is left out: {cell}")
    grid.store.run.record(controls_left_out=missing)
    return cells


def benign_bench(bench: Workbench) -> Workbench:
    """Return ``bench`` with benign objects in the place of target objects: half of the groups to train, half held out.

    Raises:
        UsageError: There are fewer than two groups of benign objects.
    """
    groups = {record.id: record.group for record in bench.dataset.records}
    what = "benign objects are trained on and measured"
    trained, held_out = split_groups(bench.splits.benign, groups, bench.seed, HELD_OUT_SHARE, what, "data.benign")
    splits = replace(bench.splits, attack_target=trained, eval_target=held_out, benign=trained)
    return replace(bench, splits=splits)


def _benign_site(grid: AttackGrid) -> Site | str:
    try:
        return Site(benign_bench(grid.site.bench), grid.subjects)
    except GeotrapError as error:
        return error.message


def _control(grid: AttackGrid, attack: PlannedAttack, subject: str, site: Site | str) -> Cell | str:
    """Return the cell, or why there is none."""
    if isinstance(site, str):
        return site
    try:
        return grid.cell(attack, subject, site)
    except GeotrapError as error:
        return error.message
