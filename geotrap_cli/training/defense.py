"""``geotrap train``: a defense on target and source data, the traps unless the profile names another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from geotrap_cli.defenses import Defense, StepObjective
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.audit import TrapAudit, write_audit
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import save_generator, weights_hash
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.progress import StepProgress
from geotrap_cli.reports.audit_tables import audit_tables
from geotrap_cli.reports.geometry_plots import GEOMETRY, geometry_picture
from geotrap_cli.runs import RunFolder
from geotrap_cli.training.audit import audit_defense, shortcut_objects
from geotrap_cli.training.checkpoints import Checkpointer, model_writer
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.device_options import check_training
from geotrap_cli.training.effort import Effort, EffortMeter
from geotrap_cli.training.inputs import record_inputs
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.learning_rates import parameter_groups
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.processes import Processes, join_processes
from geotrap_cli.training.schedules import make_schedule
from geotrap_cli.training.shared_run import create_or_resume_shared
from geotrap_cli.training.trap_set import measured_traps
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench, prepare_views
from geotrap_cli.usage import Usage

#: Where a run keeps the released weights.
MODEL = "model"


@dataclass(frozen=True)
class DefenseResult:
    """A finished defense.

    Attributes:
        run: Its folder; the released weights are in ``model/``.
        audit: What it did to the generator.
        method: Key of the defense.
        effort: What the optimisation took.
        usage: The same in time, memory and pixels; None for a defense without steps.
        batch_size: Objects of a batch, the unit of its passes.
        stopped_by: The field of ``[defense]`` whose budget ended it before ``train.steps``; None where none did.
    """

    run: Path
    audit: TrapAudit
    method: str
    effort: Effort
    usage: Usage | None
    batch_size: int
    stopped_by: str | None

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        effort = self.effort.payload(self.batch_size)
        found = {"run": str(self.run), "defense": self.method, **self.audit.payload(), **effort}
        cost = None if self.usage is None else self.usage.payload()
        return {**found, "stopped_by": self.stopped_by, "cost": cost}

    def render(self, console: Console) -> None:
        """Print the audit, and where the weights lie."""
        for table in audit_tables(self.audit, self.audit.states()):
            console.print(table)
            console.print()
        console.print(self._effort_line(), highlight=False)
        console.print(f"geometry: {self.run / GEOMETRY}", soft_wrap=True)
        console.print(f"defended weights: {self.run / MODEL}", soft_wrap=True)
        console.print("next: geotrap attack --lora", highlight=False)

    def _effort_line(self) -> str:
        effort = self.effort
        gradients = effort.gradient_evaluations(self.batch_size)
        cost = f"{effort.steps} steps, {gradients:g} gradient evaluations, {effort.seconds:.1f} s"
        line = f"defense {self.method}: {cost}"
        return f"{line}, ended by defense.{self.stopped_by}" if self.stopped_by else line


def run_defense(options: CommonOptions, loaded: LoadedProfile, console: Console) -> DefenseResult:
    """Immunize the profile's generator and write the weights, depths and metrics into a run folder.

    Raises:
        UsageError: The profile, the data or the weights are wrong.
        NonFiniteError: The loss or a weight is not finite; the last good checkpoint stays.
    """
    with join_processes(options.device) as processes:
        return _run(processes, options, loaded, console)


def _run(processes: Processes, options: CommonOptions, loaded: LoadedProfile, console: Console) -> DefenseResult:
    profile, device = loaded.profile, processes.device
    torch.manual_seed(profile.train.seed)
    defense = load_defense(profile)
    check_divisible(processes, profile, defense)
    _check_device(processes, profile, defense)
    traps = measured_traps(profile, defense)
    model, teacher = open_model(profile, device), open_model(profile, device)
    bench = open_workbench(profile, device, model, processes)
    trainable = select_parameters(model, *layer_choice(model, profile))
    context = DefenseContext(bench, model, teacher, trainable, traps)
    defense.prepare(context)
    if defense.trains:
        context.start_training()
    optimizer = make_optimizer(profile, model, context.trained)
    objective = defense.objective(context) if defense.trains else None
    with create_or_resume_shared(processes, "train", options, loaded) as run:
        record_inputs(run, bench, teacher)
        _prepare(bench, objective, console, options.quiet)
        effort, usage, stopped_by = Effort(), None, None
        if objective is not None:
            effort, usage, stopped_by = _train(context, defense, objective, optimizer, run, console, options.quiet)
            model = processes.joined(model)
        if processes.main:
            save_generator(model, run.path / MODEL)
        audit = audit_defense(bench, traps, model, teacher, trainable)
        result = DefenseResult(run.path, audit, defense.key, effort, usage, profile.train.batch_size, stopped_by)
        if processes.main:
            write_audit(run.path, result.audit)
            geometry_picture(result.audit.states(), run.path / GEOMETRY)
        run.record(defended=weights_hash(model))
        run.finish(result.payload())
    return result


def check_divisible(processes: Processes, profile: Profile, defense: Defense) -> None:
    """Check that the processes can share every batch of ``defense``.

    Raises:
        UsageError: There are several, and its loss or its batch cannot be divided.
    """
    if processes.count == 1:
        return
    if (reason := defense.indivisible(profile)) is not None:
        raise UsageError(f"{reason}, so {processes.count} processes cannot share it", "Start it without a launcher")
    if defense.trains:
        processes.check_batch("train.batch_size", profile.train.batch_size)


def _check_device(processes: Processes, profile: Profile, defense: Defense) -> None:
    if defense.trains:
        check_training(profile.device, processes)
    if profile.device.compile and defense.second_order:
        what = f"device.compile does not go with the defense '{defense.key}', which takes gradients of gradients"
        raise UsageError(what, "Leave device.compile out")


def load_defense(profile: Profile) -> Defense:
    """Return the defense that ``[defense]`` names, with its options.

    Raises:
        UsageError: There is no such defense.
    """
    key = profile.defense.method
    defense: Defense = build_plugin("geotrap.defenses", key, profile.defense.options(key))
    return defense


def _prepare(bench: Workbench, objective: StepObjective | None, console: Console, quiet: bool) -> None:
    train = bench.profile.train
    wanted = [bench.draw(bench.splits.eval_target), bench.draw(bench.splits.source_eval), shortcut_objects(bench)]
    wanted.append([] if objective is None else objective.drawn(train.steps))
    prepare_views(bench, [name for ids in wanted for name in ids], console, quiet)


def make_optimizer(
    profile: Profile, model: GaussianGenerator, trainable: Mapping[str, nn.Parameter]
) -> torch.optim.Optimizer:
    """Return the AdamW of ``[train]`` over ``trainable``, with the learning rates of ``[layers]``."""
    train = profile.train
    groups = parameter_groups(model, trainable, train.lr, profile.layers.lr_multipliers)
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, weight_decay=train.weight_decay, fused=True)


def _train(
    context: DefenseContext,
    defense: Defense,
    objective: StepObjective,
    optimizer: torch.optim.Optimizer,
    run: RunFolder,
    console: Console,
    quiet: bool,
) -> tuple[Effort, Usage, str | None]:
    """Take the steps; return what they cost and which budget ended them, if one did."""
    profile, model, trainable = context.bench.profile, context.model, context.trained
    train, folder, processes = profile.train, run.path / "checkpoints" / "last", context.bench.processes
    with processes.main_first():
        meter = EffortMeter(profile.defense, train.batch_size, folder, processes.count, processes.device)
    tensors = {**trainable, **{f"defense.{name}": value for name, value in defense.state().items()}}
    writer = model_writer(processes, model)
    checkpointer = Checkpointer(folder, tensors, optimizer, writer, meter.write, processes)
    shown = objective.metric_names
    model.train()
    with (
        StepProgress(console, "train", train.steps, shown, train.log_every, quiet) as progress,
        meter.watching(model, context.teacher),
    ):

        def on_step(step: int, metrics: Metrics) -> None:
            meter.finished_step(step)
            progress.update(step, metrics)
            if step % train.log_every == 0 or step == train.steps or meter.spent:
                run.log({"step": step, **metrics})

        settings = LoopSettings(train.steps, train.clip_norm, train.checkpoint_every)
        schedule = make_schedule(train.schedule, train.steps, train.warmup_steps)
        hooks = LoopHooks(on_step=on_step, backward=objective.backward, should_stop=lambda _: meter.spent is not None)
        optimise(objective, list(trainable.values()), optimizer, schedule, settings, hooks, checkpointer, processes)
    model.eval()
    effort, usage = meter.so_far, meter.usage
    return effort, usage, meter.spent if effort.steps < train.steps else None
