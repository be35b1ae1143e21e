"""What a defense is: which losses it minimises, or how it takes a step of its own. The loop is shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch

from geotrap_cli.profile.base import PluginConfig
from geotrap_cli.search_ranges import Range

if TYPE_CHECKING:
    from geotrap_cli.data.batch import ViewBatch
    from geotrap_cli.profile.schema import Profile
    from geotrap_cli.training.defense_context import DefenseContext
    from geotrap_cli.training.loop import Metrics

#: Named terms of a step's loss; ``total`` is what is minimised, the others are reported.
LossTerms = dict[str, torch.Tensor]


class DefenseConfig(PluginConfig):
    """Base of a defense's options, ``[defense.KEY]``: frozen, unknown fields refused."""


class StepObjective(Protocol):
    """What the training loop calls for each step of a defense."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics that progress shows."""

    def __call__(self, step: int) -> LossTerms:
        """Return the terms of a step, counted from 0."""

    def backward(self, terms: Mapping[str, torch.Tensor]) -> Metrics:
        """Set the gradients of the trained parameters, and return what there is to report of it."""

    def drawn(self, steps: int) -> list[str]:
        """Return the objects that ``steps`` steps may see."""


class Defense:
    """A way of making weights resist fine-tuning; plug-ins of the group ``geotrap.defenses``.

    A method with one level overrides :meth:`losses`; one with an inner loop, or gradients that no loss has, sets
    ``owns_step`` and overrides :meth:`step`. Optimizer, learning rate, precision, clipping, checkpoints and logging are
    the loop's. What is drawn at random may depend on (seed, step) alone, so that a resumed run ends in the same bits.

    Attributes:
        key: Entry-point name.
        summary: One line for listings.
        source: Where it is from, one line.
        assumes: What it assumes of the attacker or of the generator, one line.
        cost: What a step costs, in gradients of a batch, one line.
        Config: Its options.
        trains: Whether it takes optimizer steps; one that does not is done after :meth:`prepare`.
        owns_step: Whether it sets gradients by :meth:`step`.
        uses_traps: Whether it minimises the traps of the profile; with any other they are only measured.
        sees_source: Whether a step looks at source objects.
        sees_target: Whether a step looks at target objects.
        renders_target: Whether it needs supervised views of the target objects of a step.
        renders_source: The same of the source objects.
        draws_more: Whether it draws target objects beside those that a step is given.
        draws_more_source: The same of source objects.
        shows: Names of its own metrics that progress shows.
        search: Options among which the best ones are searched for (``[tune]`` of a grid), with their ranges: fields of
            its own table by name, others of the profile by dotted key. Empty for a control. None may change what a step
            costs: all defenses get as many trials, and a trial should take as long as any other.
        ignores: Values of a profile that it does not read, by dotted key or table, ``*`` for any name.
    """

    key: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    assumes: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    Config: ClassVar[type[DefenseConfig]] = DefenseConfig
    trains: ClassVar[bool] = True
    owns_step: ClassVar[bool] = False
    uses_traps: ClassVar[bool] = False
    sees_source: ClassVar[bool] = True
    sees_target: ClassVar[bool] = True
    renders_target: ClassVar[bool] = True
    renders_source: ClassVar[bool] = False
    draws_more: ClassVar[bool] = False
    draws_more_source: ClassVar[bool] = False
    shows: ClassVar[tuple[str, ...]] = ()
    search: ClassVar[Mapping[str, Range]] = {}
    ignores: ClassVar[tuple[str, ...]] = ("robust", "traps.*.dynamic", "train.trap_weight")

    def __init__(self, config: Any | None = None) -> None:
        self.config = self.Config() if config is None else config

    def prepare(self, context: DefenseContext) -> None:
        """Get ready, before the checkpoint of a resumed run is read: build what steps need, or edit the weights.

        Raises:
            UsageError: An option is missing, or does not fit the generator or the objects.
        """
        self.context = context

    def target_objects(self, ids: Sequence[str]) -> Sequence[str]:
        """Return which of the defense's target objects a step is given; all, unless overridden."""
        return ids

    @property
    def gradients(self) -> float:
        """Gradients of a batch that a step takes, the mean over steps: what ``--dry-run`` reckons with."""
        return 2.0

    @property
    def second_order(self) -> bool:
        """Whether steps differentiate gradients of the generator, which compiled code cannot; not unless overridden."""
        return False

    def indivisible(self, profile: Profile) -> str | None:
        """Return why several processes cannot share a batch of this defense; None where they can.

        They can where its loss is a mean over the objects of a batch and goes through ``context.gaussians``, and where
        it looks at the values of weights in :meth:`prepare` only, as weights may be divided too. Unless overridden,
        only a defense without steps says so.
        """
        del profile
        return f"the defense '{self.key}' looks at a batch as a whole" if self.trains else None

    def simulates(self, profile: Profile) -> Sequence[str]:
        """Return the kinds of fine-tuning that steps may simulate, ``full`` and ``lora``; none, unless overridden.

        ``lora`` stands for the adapter of ``[attack.lora]``, which then acts on the defended weights.
        """
        del profile
        return ()

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors beside the weights that steps change, by name; checkpoints keep them. None by default."""
        return {}

    def losses(self, source: ViewBatch, target: ViewBatch, step: int) -> LossTerms:
        """Return the terms of a step, ``total`` among them, with a graph to the trained parameters.

        Args:
            source: Source objects; None where ``sees_source`` is false.
            target: Objects of the target categories; None where ``sees_target`` is false.
            step: Number of the step, 0 for the first.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither losses nor a step")

    def step(self, context: DefenseContext, source: ViewBatch, target: ViewBatch, step: int) -> Metrics:
        """Set ``grad`` of the trained parameters to the direction of descent, and return what there is to report.

        Called instead of :meth:`losses` where ``owns_step`` is set, with the gradients cleared.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step")

    def objective(self, context: DefenseContext) -> StepObjective:
        """Return what the loop calls; one built on :meth:`losses` or :meth:`step`, unless overridden."""
        # Imported here: listing defenses should not load the data sets and the generator.
        from geotrap_cli.training.method_objective import MethodObjective

        return MethodObjective(self, context)
