"""An attacker with a data set of its own: ``[attack.data]``."""

from __future__ import annotations

from dataclasses import replace

import torch

from geotrap_cli.data.held_out import judged_on_own
from geotrap_cli.data.joined import PREFIX, JoinedDataset
from geotrap_cli.data.splits import split_attack_objects
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.processes import ALONE, Processes
from geotrap_cli.training.workbench import Workbench, open_table, open_workbench

REPLACED = ("attack_target", "eval_target")


def open_attack_workbench(
    profile: Profile, device: torch.device, model: GaussianGenerator, processes: Processes = ALONE
) -> Workbench:
    """Open what an attack works on: the defender's data or, with ``[attack.data]``, target objects of another data set.

    Then both data sets are one, the sets ``attack_target`` and ``eval_target`` are of the attacker's, and all others of
    the defender's. Groups that the defender has as well are left out of the attacker's.

    Raises:
        UsageError: A data set or a category is missing, or a split would be empty.
    """
    bench = open_workbench(profile, device, model, processes)
    table = profile.attack.data
    if table is None:
        return bench
    other = open_table(table, max(bench.output_size, bench.input_size))
    groups = {record.id: record.group for record in bench.dataset.records}
    kept = {name: ids for name, ids in bench.splits.as_dict().items() if name not in REPLACED}
    taken = {groups[id] for ids in kept.values() for id in ids}
    own = split_attack_objects(other.records, table.target or profile.data.target, table.seed, taken)
    splits = replace(bench.splits, **{name: tuple(PREFIX + id for id in ids) for name, ids in own.items()})
    joined = JoinedDataset(bench.dataset, other)
    splits.check_disjoint_groups(joined.records)
    if profile.eval.split == "validation":
        # The source objects are those of the defender, and are chosen already.
        splits = judged_on_own(splits, {record.id: record.group for record in joined.records}, profile.data.seed)
    return replace(bench, dataset=joined, splits=splits)
