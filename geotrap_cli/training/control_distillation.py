"""The defense without its traps: as many steps of distillation alone, to tell what the traps themselves do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from geotrap_cli.defenses import Defense
from geotrap_cli.evaluation.store import content_key
from geotrap_cli.models.loading import save_generator, weights_hash
from geotrap_cli.plugins import build_plugin, load_plugin
from geotrap_cli.profile.load import load_profile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.progress import StepProgress
from geotrap_cli.runs import RunFolder, list_runs
from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.code_version import defense_code
from geotrap_cli.training.defense import make_optimizer
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.device_options import check_training
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.processes import Processes
from geotrap_cli.training.schedules import make_schedule
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench, prepare_views

DISTILLED, FACTS = Path("controls") / "distill", "distilled"
DEFENSE = "distill"
_TABLES = {"model", "data", "train", "retain", "layers", "loss", "device"}


def distilled_weights(
    run: RunFolder, train_run: RunFolder, processes: Processes, console: Console, quiet: bool
) -> Path:
    """Return a folder with what the defense of ``train_run`` makes of the undefended weights without its traps.

    It is trained where no attack run beside ``run`` has it already; killed, it goes on from its checkpoint.

    Args:
        run: The attack run.
        train_run: The run of the defense, whose profile, steps and undefended weights count.
        processes: Those that train it together.
        console: Where progress is shown.
        quiet: Whether it is not.
    """
    profile, device = load_profile(train_run.profile_path, env={}).profile, processes.device
    processes.check_batch("train.batch_size", profile.train.batch_size)
    check_training(profile.device, processes)
    model, teacher = open_model(profile, device), open_model(profile, device)
    bench = open_workbench(profile, device, model, processes)
    trained = select_parameters(model, *layer_choice(model, profile))
    key = content_key({**_inputs(bench, weights_hash(model)), "trained": list(trained)})
    found = processes.told(str(next(_candidates(run, key), "")) if processes.main else "")
    if found:
        return Path(found)
    context = DefenseContext(bench, model, teacher, trained, None)
    _distill(context, run, console, quiet)
    model = processes.joined(model)
    with processes.main_first():
        if processes.main:
            save_generator(model, run.path / DISTILLED)
    run.record(**{FACTS: {"key": key}})
    return run.path / DISTILLED


def _distill(context: DefenseContext, run: RunFolder, console: Console, quiet: bool) -> None:
    bench, model = context.bench, context.model
    # The defense of this name, on the source objects that the run's own defense saw in each step.
    defense: Defense = build_plugin("geotrap.defenses", DEFENSE, {})
    defense.prepare(context)
    context.start_training()
    trained = context.trained
    objective, train = defense.objective(context), bench.profile.train
    prepare_views(bench, objective.drawn(train.steps), console, quiet)
    optimizer = make_optimizer(bench.profile, model, trained)
    folder, processes = run.path / "checkpoints" / DISTILLED.name, bench.processes
    checkpointer = Checkpointer(folder, trained, optimizer, processes=processes)
    settings = LoopSettings(train.steps, train.clip_norm, train.checkpoint_every)
    schedule = make_schedule(train.schedule, train.steps, train.warmup_steps)
    model.train()
    with StepProgress(console, "distill without traps", train.steps, ("total",), train.log_every, quiet) as progress:

        def on_step(step: int, metrics: Metrics) -> None:
            progress.update(step, metrics)
            if step % train.log_every == 0 or step == train.steps:
                run.log({"cell": DISTILLED.name, "step": step, **metrics})

        hooks = LoopHooks(on_step=on_step)
        optimise(objective, list(trained.values()), optimizer, schedule, settings, hooks, checkpointer, processes)
    model.eval()


def _inputs(bench: Workbench, undefended: str) -> dict[str, Any]:
    """Everything that the distilled weights depend on."""
    profile: Profile = bench.profile
    return {
        "profile": profile.model_dump(mode="json", include=_TABLES),
        "undefended": undefended,
        "data": bench.dataset.fingerprint(),
        "splits": bench.splits.as_dict(),
        "code": defense_code(profile, load_plugin("geotrap.defenses", DEFENSE)),
    }


def _candidates(run: RunFolder, key: str) -> Iterator[Path]:
    """Yield folders of this run and those beside it that hold the very weights."""
    for other in [run, *list_runs(run.path.parent)]:
        folder = other.path / DISTILLED
        if other.manifest.get(FACTS, {}).get("key") == key and folder.is_dir():
            yield folder
