"""``geotrap analyze-layers``: which units tell target objects from source objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import weights_hash
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.progress import StepProgress
from geotrap_cli.runs import RunFolder, create_or_resume
from geotrap_cli.sensitivity.gradients import UnitParameters
from geotrap_cli.sensitivity.plan import PROBES, SAMPLES, Plan, load_traps, pick_weights
from geotrap_cli.sensitivity.reach import reached_units
from geotrap_cli.sensitivity.result import AnalysisResult, write_files
from geotrap_cli.sensitivity.samples import SampleNorms, draw_objects, measure_objects
from geotrap_cli.sensitivity.scores import GEOMETRIC_MEAN, check_column, order_units, score_units
from geotrap_cli.sensitivity.selection import candidates, check_selection, select_units
from geotrap_cli.training.precision import pick_device
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench, prepare_views

COMMAND = "analyze-layers"


def run_analysis(
    options: CommonOptions,
    loaded: LoadedProfile,
    console: Console,
    *,
    mode: str = "trap",
    traps: Sequence[str] = (),
    samples: int | None = None,
    sort: str | None = None,
    top: int | None = None,
    csv: Path | None = None,
    select: int | None = None,
    lora_safe: bool = False,
    probes: int | None = None,
) -> AnalysisResult:
    """Measure the gradient norm of every unit on target and on source objects and write a run folder.

    Args:
        options: Common options; ``run`` names a defense whose weights are analysed instead of the undefended ones.
        loaded: The profile.
        console: For progress and messages.
        mode: ``trap``, ``attack`` or ``jacobian``.
        traps: Keys of the traps of mode ``trap``; empty: the profile's.
        samples: Objects of each side.
        sort: ``geometric_mean``, ``unit`` (the order of the network) or the name of a loss.
        top: Units to show.
        csv: A further place for the CSV file.
        select: Units to write to layers.toml.
        lora_safe: Select only units that the profile's LoRA adapter does not reach.
        probes: Random vectors of mode ``jacobian``.

    Raises:
        UsageError: The profile, the data, the weights or an argument is wrong.
        NonFiniteError: A gradient is NaN or infinite.
    """
    profile = loaded.profile
    chosen_traps = load_traps(profile, traps) if mode == "trap" else {}
    plan = Plan(
        mode, chosen_traps, samples or SAMPLES, probes or PROBES, sort or GEOMETRIC_MEAN, top, select, lora_safe
    )
    check_column(plan.sort, plan.losses)
    device = pick_device(options.device)
    weights, words = pick_weights(options, profile)
    model = open_model(profile, device, weights)
    units = UnitParameters.of(model, model.units())
    reached = reached_units(model, profile.attack.options("lora"))
    allowed = candidates(units, reached, lora_safe, profile.layers.freeze_head)
    check_selection(select or 0, allowed)
    bench = open_workbench(profile, device, model)
    if not options.quiet:
        console.print(f"weights: {words}", soft_wrap=True)
    with create_or_resume(COMMAND, options, loaded) as run:
        run.record(mode=mode, losses=plan.losses, data=bench.dataset.fingerprint(), weights=weights_hash(model))
        target, source = _measure_sides(bench, model, units, plan, run, console, options.quiet)
        scores = score_units(target, source, units, reached, seed=profile.train.seed, resamples=profile.eval.bootstrap)
        result = AnalysisResult(run.path, plan, words, len(target.ids), order_units(scores, plan.sort))
        if select:
            result = replace(result, chosen=_select(result, allowed, console))
        write_files(result, csv)
        run.finish(result.payload())
    return result


def _measure_sides(
    bench: Workbench,
    model: LGM,
    units: UnitParameters,
    plan: Plan,
    run: RunFolder,
    console: Console,
    quiet: bool,
) -> tuple[SampleNorms, SampleNorms]:
    """Norms on equally many target and source objects, with equally many views."""
    pools = {"target": bench.splits.defense_target, "source": bench.splits.source_train}
    seed, records = bench.profile.train.seed, bench.dataset.records
    count = min(plan.samples, *(len(ids) for ids in pools.values()))
    if count < plan.samples and not quiet:
        console.print(f"{count} objects of each side instead of {plan.samples}: the splits hold no more")
    ids = {side: draw_objects(records, pool, count, seed) for side, pool in pools.items()}
    run.record(objects=ids)
    prepare_views(bench, [*ids["target"], *ids["source"]], console, quiet)
    views = bench.profile.attack.supervised_views if plan.mode == "attack" else 0
    measure, groups = plan.measure(bench), {record.id: record.group for record in records}
    done = iter(range(1, 2 * count + 1))
    with StepProgress(console, "gradients", 2 * count, (), every=8, quiet=quiet) as bar:
        target, source = (
            measure_objects(
                model, units, bench.sampler(ids[side], views, seed), measure, groups, lambda: bar.update(next(done), {})
            )
            for side in ("target", "source")
        )
    return target, source


def _select(result: AnalysisResult, allowed: frozenset[str], console: Console) -> list[str]:
    plan = result.plan
    ranked = order_units(result.scores, plan.ranking)
    chosen = select_units(ranked, plan.select or 0, allowed, plan.ranking)
    if len(chosen) < (plan.select or 0):
        console.print(f"{len(chosen)} units chosen instead of {plan.select}: the others have no ratio")
    return chosen
