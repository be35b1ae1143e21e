"""Traps in attribute space: the defense that this program is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from geotrap_cli.defenses import Defense, StepObjective
from geotrap_cli.errors import UsageError
from geotrap_cli.profile.schema import Profile, RobustTable
from geotrap_cli.search_ranges import Range
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_defenses._search import DECADES, LEARNING_RATE


class GeotrapDefense(Defense):
    """p·R(source) + (1 − p)·λ_trap·[T(target) + Σ extra terms], without rendering; see docs/method.md.

    The traps are those of ``[traps]``, and ``[robust]`` says where else than at the weights themselves they count.
    """

    key: ClassVar[str] = "geotrap"
    summary: ClassVar[str] = "traps on attributes of target Gaussians, distillation on the rest"
    source: ClassVar[str] = "this program, after GaussLock (arXiv 2604.09688)"
    assumes: ClassVar[str] = "nothing of the attacker's loss; what [robust] simulates"
    cost: ClassVar[str] = "2 gradients, and those of [robust] and [traps.KEY.dynamic]"
    uses_traps: ClassVar[bool] = True
    ignores: ClassVar[tuple[str, ...]] = ()
    search: ClassVar[Mapping[str, Range]] = {"train.trap_weight": DECADES, **LEARNING_RATE}

    def indivisible(self, profile: Profile) -> str | None:
        """Return which part of the loss is no mean over objects, or draws its random numbers for a whole batch."""
        if profile.robust != RobustTable():
            return "[robust] looks at a batch as a whole"
        dynamic = [key for key, table in profile.traps.items() if table.dynamic is not None]
        return f"[traps.{dynamic[0]}.dynamic] draws its probes for a batch as a whole" if dynamic else None

    def simulates(self, profile: Profile) -> Sequence[str]:
        """Return the kinds of ``[robust.unrolled]``."""
        return () if profile.robust.unrolled is None else profile.robust.unrolled.kinds

    def objective(self, context: DefenseContext) -> StepObjective:
        """Return the traps' own objective.

        Raises:
            UsageError: There is no trap, or a mechanism of ``[robust]`` could not act.
        """
        if context.traps is None:
            raise UsageError("the profile has no [traps.KEY] table", "Add one, for example [traps.position]")
        return DefenseObjective(context.bench, context.model, context.teacher, context.traps)
