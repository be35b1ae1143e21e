"""What a unit is worth to an attacker: one short attack as it is, and one without each unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from rich.console import Console
from torch import Tensor

from geotrap_cli.attacks import Attack
from geotrap_cli.errors import NonFiniteError, UsageError
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED, Cell, CellEvaluation, has_cell, read_cell, write_cell
from geotrap_cli.evaluation.evaluate import HEADLINE, EvaluationSettings, evaluate
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.options import split_names
from geotrap_cli.plugins import suggestion
from geotrap_cli.profile.schema import Profile
from geotrap_cli.sensitivity.interventions import FREEZE, RESET, ROLLBACK, Held, in_unit, reset_unit, roll_back
from geotrap_cli.sensitivity.plan import AnalysedWeights
from geotrap_cli.sensitivity.reach import trained_units
from geotrap_cli.training.attack_cell import CellRunner
from geotrap_cli.training.attack_plan import PlannedAttack, plan_attacks
from geotrap_cli.training.workbench import Workbench, open_model, prepare_views

FOLDER, UNFROZEN = "causal", "unfrozen"


def changeable_units(model: GaussianGenerator, profile: Profile, action: str) -> frozenset[str]:
    """Units that the action can change: with ``reset`` all of them, else those that the attack trains."""
    return frozenset(model.units()) if action == RESET else trained_units(model, first_attack(profile).attack)


def first_attack(profile: Profile) -> PlannedAttack:
    """The first attack of the profile, and of its variants the first."""
    return plan_attacks(profile)[0]


def check_causal(stated: str, units: Sequence[str], changeable: frozenset[str]) -> None:
    """Check ``--causal`` before anything is computed.

    Raises:
        UsageError: It is neither ``top:N`` nor ``all`` nor names of units that the action can change.
    """
    if stated == "all" or re.fullmatch(r"top:[1-9]\d*", stated):
        if not changeable:
            raise UsageError("--causal: the attack trains nothing in any unit", hint="Use --causal-action reset")
        return
    named = split_names([stated])
    if not named:
        raise UsageError("--causal names no unit", hint="Use top:12, all, or unit names with commas between them")
    for name in named:
        if name not in units:
            raise UsageError(f"--causal: there is no unit {name!r}", hint=suggestion(name, ["all", "top:12", *units]))
        if name not in changeable:
            what = f"--causal: the attack trains nothing in {name}, so that holding it changes nothing"
            raise UsageError(what, hint="Leave it out, use --causal-action reset, or another attack")


def count_causal(stated: str, changeable: frozenset[str]) -> int:
    """How many units ``--causal`` means, at most."""
    if stated.startswith("top:"):
        return min(int(stated[4:]), len(changeable))
    return len(changeable) if stated == "all" else len(split_names([stated]))


def choose_units(stated: str, ranked: Sequence[str], changeable: frozenset[str]) -> list[str]:
    """The units that ``--causal`` means, of ``ranked`` (best first) those that the action can change, or as named."""
    if stated == "all" or stated.startswith("top:"):
        return [unit for unit in ranked if unit in changeable][: count_causal(stated, changeable)]
    return list(split_names([stated]))


def short_bench(bench: Workbench, steps: int) -> Workbench:
    """The same data with a budget of ``steps`` for the first attack of the profile, measured before and after.

    Source objects play no part here; one is left because a cell measures both sides.
    """
    table = bench.profile.attack
    attack = table.model_copy(update={"steps": steps, "evaluations": 1, "methods": table.methods[:1]})
    splits = replace(bench.splits, source_eval=bench.splits.source_eval[:1])
    return replace(bench, profile=bench.profile.model_copy(update={"attack": attack}), splits=splits)


@dataclass
class CausalStudy:
    """Runs the attacks; each finished one is kept in the run folder and not run again.

    Attributes:
        bench: Data and settings, of :func:`short_bench`.
        weights: The weights that are attacked.
        action: ``freeze``, ``reset`` or ``rollback``.
        folder: Where finished attacks are kept.
        console: For progress and messages.
        quiet: Print nothing.
    """

    bench: Workbench
    weights: AnalysedWeights
    action: str
    folder: Path
    console: Console
    quiet: bool

    def __post_init__(self) -> None:
        self.method = first_attack(self.bench.profile).method
        self.subject = DEFENDED if self.weights.defended else UNDEFENDED

    def run(self, units: Sequence[str]) -> tuple[Cell, dict[str, Cell]]:
        """Return the attack as it is, and the one without each of ``units``.

        Raises:
            NonFiniteError: The attack as it is diverged.
        """
        splits = self.bench.splits
        held_out = [*self.bench.draw(splits.eval_target), *splits.source_eval]
        prepare_views(self.bench, [*splits.attack_target, *held_out], self.console, self.quiet)
        if self.action == ROLLBACK:
            return self._roll_back_each(units)
        unfrozen = self._unfrozen()
        return unfrozen, {unit: self._without(unit) for unit in units}

    def _unfrozen(self) -> Cell:
        if self._has(UNFROZEN):
            return self._read(UNFROZEN)
        return self._attack_as_it_is(self._model())[0]

    def _without(self, unit: str) -> Cell:
        if self._has(unit):
            return self._read(unit)
        model = self._model()
        if self.action == RESET:
            reset_unit(model, unit, self.bench.profile.attack.seed)
        cell, held = self._attack(model, unit if self.action == FREEZE else None, f"{self.action} {unit}")
        held.check_held(model)
        write_cell(self.folder / unit, cell)
        return cell

    def _roll_back_each(self, units: Sequence[str]) -> tuple[Cell, dict[str, Cell]]:
        """One attack, after which each unit in turn goes back; what is missing of a resumed run repeats the attack."""
        if self._has(UNFROZEN) and all(self._has(unit) for unit in units):
            return self._read(UNFROZEN), {unit: self._read(unit) for unit in units}
        model = self._model()
        released = _copies(model)
        unfrozen, watched = self._attack_as_it_is(model)
        cells = {}
        for unit in units:
            attacked = _copies(model, unit)
            roll_back(model, unit, released, watched.began)
            cells[unit] = replace(unfrozen, evaluations=[unfrozen.evaluations[0], self._measure(model, unfrozen)])
            write_cell(self.folder / unit, cells[unit])
            roll_back(model, unit, {}, attacked)
        return unfrozen, cells

    def _attack_as_it_is(self, model: GaussianGenerator) -> tuple[Cell, Held]:
        cell, watched = self._attack(model, None, "as it is")
        if cell.diverged:
            raise NonFiniteError(f"the attack {self.method} diverged without any intervention", "Lower its lr")
        write_cell(self.folder / UNFROZEN, cell)
        return cell, watched

    def _attack(self, model: GaussianGenerator, unit: str | None, words: str) -> tuple[Cell, Held]:
        """Attack ``model`` with ``unit`` held; also return the attack as it was run."""
        if not self.quiet:
            self.console.print(f"{self.method}, {words}", soft_wrap=True)
        planned = first_attack(self.bench.profile)
        held = cast(Attack, Held(planned.attack, unit))
        runner = CellRunner(self.bench, planned.method, planned.family, self.subject, held, model)
        # The runner works on a copy of the attack.
        return runner.run(self.console, self.quiet), cast(Held, runner.attack)

    def _measure(self, model: GaussianGenerator, attacked: Cell) -> CellEvaluation:
        bench, step = self.bench, attacked.evaluations[-1].step
        settings = EvaluationSettings.from_profile(
            bench.profile, bench.input_size, bench.output_size, bench.input_views
        )
        ids = bench.draw(bench.splits.eval_target)
        return CellEvaluation(step, evaluate(model, bench.dataset, ids, settings, device=bench.device).scores, None)

    def _model(self) -> GaussianGenerator:
        return open_model(self.bench.profile, self.bench.device, self.weights.source)

    def _has(self, name: str) -> bool:
        return has_cell(self.folder / name, self.method, self.subject)

    def _read(self, name: str) -> Cell:
        return read_cell(self.folder / name / f"{self.method}-{self.subject}.json")


def final_quality(cell: Cell) -> list[float]:
    """Foreground PSNR of each target object after the attack; NaN for one that diverged."""
    scores = cell.evaluations[-1].target
    return [float("nan") if cell.diverged else score.metrics[HEADLINE] for score in scores]


def _copies(model: GaussianGenerator, unit: str | None = None) -> dict[str, Tensor]:
    """Copies of the parameters of ``unit``, or of all, by name."""
    named = model.named_parameters()
    return {name: value.detach().clone() for name, value in named if unit is None or in_unit(model, name, unit)}
