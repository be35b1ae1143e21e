"""``geotrap attack --tune N``: the best setting of an attack on each set of weights, by the attacker's own objects.

A defense looks good when the attack was tuned on the undefended weights alone: both sets get as many trials. A trial
trains on the attacker's target objects but for a fifth of their groups, and is judged by foreground PSNR on that fifth;
the objects on which recovery is measured are never among them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geotrap_cli.atomic import write_json
from geotrap_cli.attacks import Attack, AttackConfig
from geotrap_cli.data.held_out import judged_on_own
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.evaluation.bootstrap import group_means
from geotrap_cli.evaluation.cells import SUBJECTS, TRIALS, Cell
from geotrap_cli.evaluation.evaluate import FLOOR, HEADLINE
from geotrap_cli.profile.attack_tables import TuneTable
from geotrap_cli.training.attack_grid import AttackGrid
from geotrap_cli.training.attack_plan import PlannedAttack
from geotrap_cli.training.workbench import Workbench

if TYPE_CHECKING:
    import optuna

TUNING = "tuning.json"
FOLDER = "trials"


@dataclass(frozen=True)
class Setting:
    """What is searched for.

    Attributes:
        lr: Peak learning rate.
        schedule: Its schedule.
        steps: Budget (optimizer steps).
    """

    lr: float
    schedule: str
    steps: int


@dataclass(frozen=True)
class TunedTrial:
    """One setting that was tried.

    Attributes:
        number: Its place in the search, counted from 0.
        setting: What was tried.
        quality: Largest mean foreground PSNR over the held-out groups at any evaluation after the first step (dB);
            None where the attack diverged before one.
    """

    number: int
    setting: Setting
    quality: float | None


@dataclass(frozen=True)
class Search:
    """The trials of one attack on one set of weights, in order.

    Attributes:
        method: The attack.
        weights: ``undefended`` or ``defended``.
        floor: Mean foreground PSNR of a white image over the held-out groups (dB).
        trials: What was tried.
    """

    method: str
    weights: str
    floor: float
    trials: list[TunedTrial]

    @property
    def best(self) -> TunedTrial | None:
        """The trial of the largest quality, the first of equals; None where all diverged."""
        found = [trial for trial in self.trials if trial.quality is not None]
        return max(found, key=lambda trial: (trial.quality, -trial.number), default=None)


def refuse_untunable(planned: Sequence[PlannedAttack], tune: TuneTable) -> None:
    """Check that something can be tuned where that is asked for.

    Raises:
        UsageError: No attack of the run has a learning rate and a schedule of its own, or Optuna is missing.
    """
    if not tune.trials:
        return
    if not any(is_tunable(one) for one in planned):
        names = ", ".join(dict.fromkeys(one.family for one in planned))
        raise UsageError(f"--tune: {names} cannot be tuned", "Name an attack that can, such as lora or full")
    _load_optuna()


def is_tunable(planned: PlannedAttack) -> bool:
    """Whether an attack has one learning rate and schedule to search over; sweeps have grids of their own."""
    attack = planned.attack
    return planned.method == planned.family == attack.key and isinstance(attack.config, AttackConfig)


def tune_attacks(grid: AttackGrid, planned: Sequence[PlannedAttack]) -> list[PlannedAttack]:
    """Search for the best setting of each attack and return what is to be run with the settings found.

    Every attack becomes ``<key>-tuned_undefended`` and ``<key>-tuned_defended``, one where both are the same, so that
    either setting is run on both sets of weights. All trials are written to ``tuning.json``.

    Raises:
        UsageError: The attacker has one group of target objects only.
    """
    tune = grid.site.bench.profile.attack.tune
    if not tune.trials:
        return []
    own = grid.with_bench(validation_bench(grid.site.bench))
    searches: list[Search] = []
    tuned: list[PlannedAttack] = []
    for one in planned:
        if not is_tunable(one):
            grid.say(f"{one.method} is not tuned: it has no learning rate and schedule of its own")
            continue
        for subject in SUBJECTS:
            searches.append(_search(own, one, subject, tune))
            if grid.site.bench.processes.main:
                write_json(grid.folder / TUNING, [payload(search) for search in searches])
        tuned += _best_settings(one, searches[-len(SUBJECTS) :])
    return tuned


def validation_bench(bench: Workbench) -> Workbench:
    """Return ``bench`` with a fifth of the attacker's groups as what is measured, and nothing of the judge's.

    Raises:
        UsageError: The attacker has one group of target objects only.
    """
    groups = {record.id: record.group for record in bench.dataset.records}
    splits = judged_on_own(bench.splits, groups, bench.profile.attack.seed)
    return dataclasses.replace(bench, splits=dataclasses.replace(splits, source_eval=()))


def with_setting(planned: PlannedAttack, setting: Setting, method: str | None = None) -> PlannedAttack:
    """Return the attack with another setting, and another name where one is given."""
    fields = {"lr": setting.lr, "schedule": setting.schedule}
    attack: Attack = type(planned.attack)(planned.attack.config.model_copy(update=fields))
    return PlannedAttack(method or planned.method, planned.family, attack, setting.steps)


def payload(search: Search) -> dict[str, Any]:
    """Return a search as JSON values."""
    best = search.best
    trials = [
        {"number": one.number, **dataclasses.asdict(one.setting), "quality_db": one.quality} for one in search.trials
    ]
    return {
        "method": search.method,
        "weights": search.weights,
        "floor_db": search.floor if math.isfinite(search.floor) else None,
        "best": None if best is None else best.number,
        "trials": trials,
    }


def _search(grid: AttackGrid, planned: PlannedAttack, subject: str, tune: TuneTable) -> Search:
    """Try ``tune.trials`` settings; asked in order and told exactly, the sampler repeats itself under its seed."""
    optuna = _load_optuna()
    attack = grid.site.bench.profile.attack
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=attack.seed))
    search = Search(planned.method, subject, math.nan, [])
    for number in range(tune.trials):
        trial = study.ask()
        setting = _suggest(trial, tune, attack.steps)
        cell = grid.cell(with_setting(planned, setting), TRIALS[subject], part=f"{FOLDER}/{number:04d}")
        quality = _quality(cell)
        if quality is None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, quality)
        search.trials.append(TunedTrial(number, setting, quality))
        search = dataclasses.replace(search, floor=_floor(cell))
    return search


def _suggest(trial: optuna.Trial, tune: TuneTable, steps: int) -> Setting:
    fraction = trial.suggest_categorical("fraction", tune.fractions)
    return Setting(
        lr=trial.suggest_float("lr", *tune.lr, log=True),
        schedule=trial.suggest_categorical("schedule", tune.schedules),
        steps=max(1, round(fraction * steps)),
    )


def _best_settings(planned: PlannedAttack, searches: Sequence[Search]) -> Iterator[PlannedAttack]:
    seen: list[Setting] = []
    for search in searches:
        if search.best is not None and search.best.setting not in seen:
            seen.append(search.best.setting)
            yield with_setting(planned, search.best.setting, f"{planned.method}-tuned_{search.weights}")


def _quality(cell: Cell) -> float | None:
    values = [_group_mean(cell, index, HEADLINE) for index in range(1, len(cell.evaluations))]
    return max((value for value in values if math.isfinite(value)), default=None)


def _floor(cell: Cell) -> float:
    return _group_mean(cell, 0, FLOOR)


def _group_mean(cell: Cell, index: int, metric: str) -> float:
    scores = cell.evaluations[index].target
    return float(group_means([score.metrics[metric] for score in scores], [score.group for score in scores]).mean())


def _load_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise GeotrapError("--tune needs Optuna", "pip install 'geotrap[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
