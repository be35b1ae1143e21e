"""What an attacker works with: samplers over its own and public objects, and its held-out objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

from geotrap_cli.attacks import Attack, AttackContext, Data, Sampler
from geotrap_cli.data.held_out import split_validation
from geotrap_cli.data.views import ViewBatch, ViewSampler, evaluation_batches
from geotrap_cli.errors import UsageError
from geotrap_cli.training.losses import ReconstructionLoss
from geotrap_cli.training.workbench import Workbench


@dataclasses.dataclass(frozen=True)
class AttackData:
    """The attacker's view of a workbench.

    Attributes:
        samplers: Training batches by kind of data; only kinds that have objects.
        held_out: The attacker's own validation objects; empty for an attack that does not validate.
    """

    samplers: Mapping[Data, ViewSampler]
    held_out: tuple[str, ...]

    def sampler(self, data: Data) -> ViewSampler:
        """Return the training batches of one kind of data.

        Raises:
            UsageError: There are no such objects.
        """
        if data not in self.samplers:
            raise UsageError(f"the attack trains on {data} objects, and there are none", f"Name data.{data} categories")
        return self.samplers[data]


def open_attack_data(bench: Workbench, attack: Attack) -> AttackData:
    """Return the objects that ``attack`` trains on and holds out, none of them seen by the judge.

    Raises:
        UsageError: The attack validates and there is one group of target objects only.
    """
    table, splits = bench.profile.attack, bench.splits
    target: tuple[str, ...] = splits.attack_target
    held_out: tuple[str, ...] = ()
    if attack.uses_validation:
        groups = {record.id: record.group for record in bench.dataset.records}
        target, held_out = split_validation(target, groups, table.seed)
    chosen = tuple(attack.target_objects(target, table.seed))
    ids: dict[Data, Sequence[str]] = {"target": chosen, "source": splits.source_train, "benign": splits.benign}
    samplers = {data: bench.sampler(own, table.supervised_views, table.seed) for data, own in ids.items() if own}
    return AttackData(samplers, held_out)


def check_attack_data(bench: Workbench, attack: Attack) -> None:
    """Check that there are objects for every phase of ``attack``, so that none stops a suite midway.

    Raises:
        UsageError: A phase trains on a kind of data of which there are no objects, or nothing could be held out.
    """
    data = open_attack_data(bench, attack)
    for phase in attack.phases(bench.profile.attack.steps):
        data.sampler(phase.data)


def attack_context(bench: Workbench, data: AttackData, steps: int, loss: ReconstructionLoss) -> AttackContext:
    """Return what ``Attack.edit`` gets; nothing in it leads to the undefended weights."""
    table = bench.profile.attack
    return AttackContext(
        seed=table.seed,
        steps=steps,
        batch_size=table.batch_size,
        device=bench.device,
        target=_on_device(bench, data, "target"),
        source=_on_device(bench, data, "source"),
        benign=_on_device(bench, data, "benign"),
        validation=_validation(bench, data),
        reconstruction_loss=loss,
    )


def attack_loss(bench: Workbench, attack: Attack) -> ReconstructionLoss:
    """Return the profile's rendering loss, without its perceptual term for an attack that does not want one."""
    loss = bench.reconstruction_loss()
    return loss if attack.perceptual else dataclasses.replace(loss, perceptual=None)


def _on_device(bench: Workbench, data: AttackData, kind: Data) -> Sampler:
    def batch(step: int, batch_size: int) -> ViewBatch:
        return data.sampler(kind).batch(step, batch_size).to(bench.device)

    return batch


def _validation(bench: Workbench, data: AttackData) -> Callable[[], Iterator[ViewBatch]]:
    table = bench.profile.attack

    def batches() -> Iterator[ViewBatch]:
        if not data.held_out:
            raise UsageError("the attack held out no objects to validate on", "Set uses_validation in its class")
        for batch in evaluation_batches(
            bench.dataset,
            data.held_out,
            bench.input_size,
            bench.output_size,
            table.supervised_views,
            table.batch_size,
            table.seed,
            bench.input_views,
        ):
            yield batch.to(bench.device)

    return batches
