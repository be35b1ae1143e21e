"""``geotrap analyze-layers``: which units tell target objects from source objects."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rich.console import Console

from geotrap_cli.errors import UsageError
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.runs import create_or_resume
from geotrap_cli.sensitivity.causal import (
    FOLDER,
    CausalStudy,
    changeable_units,
    check_causal,
    choose_units,
    short_bench,
)
from geotrap_cli.sensitivity.causal_result import CausalResult
from geotrap_cli.sensitivity.effects import causal_effects, correlate, gain
from geotrap_cli.sensitivity.gradients import UnitParameters
from geotrap_cli.sensitivity.plan import AnalysedWeights, Plan, pick_weights
from geotrap_cli.sensitivity.reach import reached_units, units_without_attention
from geotrap_cli.sensitivity.request import REACH, AnalysisRequest
from geotrap_cli.sensitivity.resampled import resample_scores
from geotrap_cli.sensitivity.result import AnalysisResult, write_files
from geotrap_cli.sensitivity.resumed import COMMAND, resumed
from geotrap_cli.sensitivity.rounds import Measured, Meter
from geotrap_cli.sensitivity.scores import UnitScore, order_units, score_units
from geotrap_cli.sensitivity.selection import candidates, check_selection, select_units
from geotrap_cli.training.cross_data import open_attack_workbench
from geotrap_cli.training.inputs import record_inputs
from geotrap_cli.training.precision import pick_device
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench


@dataclass(frozen=True)
class Subject:
    """What is analysed: a generator, its units, and those that the options let through.

    Attributes:
        bench: Data and settings.
        weights: Which weights.
        model: The generator with them.
        units: Its units.
        reached: Units in which the profile's LoRA adapter trains something.
        selectable: Units that ``--select`` may choose.
        changeable: Units that ``--causal`` may hold.
    """

    bench: Workbench
    weights: AnalysedWeights
    model: GaussianGenerator
    units: UnitParameters
    reached: frozenset[str]
    selectable: frozenset[str]
    changeable: frozenset[str]


def run_analysis(
    options: CommonOptions, loaded: LoadedProfile, console: Console, request: AnalysisRequest | None = None
) -> AnalysisResult:
    """Measure the gradient norm of every unit on target and on source objects and write a run folder.

    Args:
        options: Common options; ``run`` names a defense whose weights are analysed instead of the undefended ones.
        loaded: The profile.
        console: For progress and messages.
        request: What to measure and how to show it; None: the defaults. A resumed run has its own.

    Raises:
        UsageError: The profile, the data, the weights or an option is wrong.
        NonFiniteError: A gradient is NaN or infinite, or the attack of the causal analysis diverged.
    """
    request, options = resumed(options) if options.resume else (request or AnalysisRequest(), options)
    profile = loaded.profile
    plan = Plan.of(request, profile)
    subject = _open(options, loaded, plan)
    if not options.quiet:
        console.print(f"weights: {subject.weights.words}", soft_wrap=True)
    with create_or_resume(COMMAND, options, loaded) as run:
        run.record(request=request.record(), analysed=None if options.run is None else str(options.run.resolve()))
        run.record(losses=plan.losses)
        record_inputs(run, subject.bench, subject.model)
        measured = Meter(subject.bench, subject.model, subject.units, plan, run, console, options.quiet).measure()
        scores = order_units(_score(measured, subject), request.sort)
        result = AnalysisResult(run.path, plan, subject.weights.words, measured.precision, scores)
        if request.select:
            result = replace(result, chosen=_select(result, subject.selectable, console, options.quiet))
        if request.causal:
            result = replace(result, causal=_causal(result, subject, measured, console, options.quiet))
        write_files(result)
        run.finish(result.payload())
    return result


def _open(options: CommonOptions, loaded: LoadedProfile, plan: Plan) -> Subject:
    """Open data and generator, and check what the options name before anything is computed."""
    profile, request = loaded.profile, plan.request
    device = pick_device(options.device)
    weights = pick_weights(options, profile)
    model = open_model(profile, device, weights.source)
    units = UnitParameters.of(model, model.units())
    reached = reached_units(model, profile.attack.options("lora"))
    selectable = candidates(units, reached, request.lora_safe, model.head_units if profile.layers.freeze_head else ())
    check_selection(request.select or 0, selectable)
    check_reach(request.reach, units.names, reached)
    changeable = frozenset[str]()
    if request.causal is not None:
        changeable = changeable_units(model, profile, request.causal_action)
        check_causal(request.causal, units.names, changeable)
    open_bench = open_workbench if request.causal is None else open_attack_workbench
    return Subject(open_bench(profile, device, model), weights, model, units, reached, selectable, changeable)


def check_reach(reach: str, units: tuple[str, ...], reached: frozenset[str]) -> None:
    """Check that ``--reach`` leaves a unit to show.

    Raises:
        UsageError: It leaves none.
    """
    wanted = REACH[reach]
    if wanted is not None and not any((unit in reached) is wanted for unit in units):
        raise UsageError(f"--reach {reach}: there is no such unit", hint="Leave it out")


def _score(measured: Measured, subject: Subject) -> list[UnitScore]:
    profile = subject.bench.profile
    return score_units(
        measured.target,
        measured.source,
        subject.units,
        subject.reached,
        units_without_attention(subject.units.names, subject.model.place),
        seed=profile.train.seed,
        resamples=profile.eval.bootstrap,
    )


def _select(result: AnalysisResult, allowed: frozenset[str], console: Console, quiet: bool) -> list[str]:
    plan, wanted = result.plan, result.plan.request.select or 0
    ranked = order_units(result.scores, plan.ranking)
    chosen = select_units(ranked, wanted, allowed, plan.ranking)
    if len(chosen) < wanted and not quiet:
        console.print(f"{len(chosen)} units chosen instead of {wanted}: the others have no {plan.ranking}")
    return chosen


def _causal(
    result: AnalysisResult, subject: Subject, measured: Measured, console: Console, quiet: bool
) -> CausalResult:
    request, profile = result.plan.request, subject.bench.profile
    ranked = [score.row.unit for score in order_units(result.scores, result.plan.ranking)]
    units = choose_units(request.causal or "", ranked, subject.changeable)
    bench = short_bench(subject.bench, request.causal_steps)
    study = CausalStudy(bench, subject.weights, request.causal_action, result.run / FOLDER, console, quiet)
    unfrozen, without = study.run(units)
    seed, resamples = profile.train.seed, profile.eval.bootstrap
    effects = causal_effects(unfrozen, without, seed=seed, resamples=resamples)
    resampled = resample_scores(measured.target, measured.source, subject.units, seed=seed, resamples=resamples)
    columns = [subject.units.names.index(unit) for unit in units]
    return CausalResult(
        study.method,
        request.causal_action,
        request.causal_steps,
        gain(unfrozen, seed=seed, resamples=resamples),
        sorted(effects, key=lambda effect: (effect.effect.value != effect.effect.value, -effect.effect.value)),
        correlate(
            {name: score.of(columns) for name, score in resampled.items()},
            unfrozen,
            [without[unit] for unit in units],
            seed=seed,
            resamples=resamples,
        ),
        {score.row.unit: score for score in result.scores},
    )
