"""``geotrap train``: traps on target data, distillation on source data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from geotrap_cli.evaluation.audit import TrapAudit, write_audit
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator, weights_hash
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.progress import StepProgress
from geotrap_cli.reports.audit_tables import audit_tables
from geotrap_cli.reports.geometry_plots import GEOMETRY, geometry_picture
from geotrap_cli.runs import RunFolder, create_or_resume
from geotrap_cli.training.audit import audit_defense, shortcut_objects
from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.inputs import record_inputs
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.learning_rates import parameter_groups
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.precision import pick_device
from geotrap_cli.training.schedules import make_schedule
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench, prepare_views

#: Where a run keeps the released weights.
MODEL = "model"


@dataclass(frozen=True)
class DefenseResult:
    """A finished defense.

    Attributes:
        run: Its folder; the released weights are in ``model/``.
        audit: What it did to the generator.
        seconds: Duration of the optimisation.
    """

    run: Path
    audit: TrapAudit
    seconds: float

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        return {"run": str(self.run), **self.audit.payload(), "seconds": self.seconds}

    def render(self, console: Console) -> None:
        """Print the audit, and where the weights lie."""
        for table in audit_tables(self.audit, self.audit.states()):
            console.print(table)
            console.print()
        console.print(f"geometry: {self.run / GEOMETRY}", soft_wrap=True)
        console.print(f"defended weights: {self.run / MODEL}", soft_wrap=True)
        console.print("next: geotrap attack --lora", highlight=False)


def run_defense(options: CommonOptions, loaded: LoadedProfile, console: Console) -> DefenseResult:
    """Immunize the profile's generator and write the weights, depths and metrics into a run folder.

    Raises:
        UsageError: The profile, the data or the weights are wrong.
        NonFiniteError: The loss or a weight is not finite; the last good checkpoint stays.
    """
    profile = loaded.profile
    device = pick_device(options.device)
    torch.manual_seed(profile.train.seed)
    traps = TrapSet.from_profile(profile)
    model, teacher = open_model(profile, device), open_model(profile, device)
    bench = open_workbench(profile, device, model)
    trainable = select_parameters(model, *layer_choice(model, profile))
    optimizer = make_optimizer(profile, model, trainable)
    objective = DefenseObjective(bench, model, teacher, traps)
    with create_or_resume("train", options, loaded) as run:
        record_inputs(run, bench, teacher)
        _prepare(bench, objective, console, options.quiet)
        began = time.perf_counter()
        _train(objective, trainable, optimizer, run, console, options.quiet)
        seconds = time.perf_counter() - began
        save_generator(model, run.path / MODEL)
        result = DefenseResult(run.path, audit_defense(bench, traps, model, teacher, trainable), seconds)
        write_audit(run.path, result.audit)
        geometry_picture(result.audit.states(), run.path / GEOMETRY)
        run.record(defended=weights_hash(model))
        run.finish(result.payload())
    return result


def _prepare(bench: Workbench, objective: DefenseObjective, console: Console, quiet: bool) -> None:
    train = bench.profile.train
    wanted = [bench.draw(bench.splits.eval_target), bench.draw(bench.splits.source_eval), shortcut_objects(bench)]
    wanted.append(objective.drawn(train.steps))
    prepare_views(bench, [name for ids in wanted for name in ids], console, quiet)


def make_optimizer(profile: Profile, model: LGM, trainable: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Return the AdamW of ``[train]`` over ``trainable``, with the learning rates of ``[layers]``."""
    train = profile.train
    groups = parameter_groups(model, trainable, train.lr, profile.layers.lr_multipliers)
    return torch.optim.AdamW(groups, lr=train.lr, betas=train.betas, weight_decay=train.weight_decay, fused=True)


def _train(
    objective: DefenseObjective,
    trainable: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    run: RunFolder,
    console: Console,
    quiet: bool,
) -> None:
    train, model = objective.bench.profile.train, objective.model
    checkpointer = Checkpointer(
        run.path / "checkpoints" / "last", trainable, optimizer, lambda folder: save_generator(model, folder)
    )
    static = (f"{key}_static" for key in objective.traps.traps)
    shown = ("total", *objective.retention.metric_names, *static, *objective.dynamic.metric_names)
    model.train()
    with StepProgress(console, "train", train.steps, shown, train.log_every, quiet) as progress:

        def on_step(step: int, metrics: Metrics) -> None:
            progress.update(step, metrics)
            if step % train.log_every == 0 or step == train.steps:
                run.log({"step": step, **metrics})

        settings = LoopSettings(train.steps, train.clip_norm, train.checkpoint_every)
        schedule = make_schedule(train.schedule, train.steps, train.warmup_steps)
        hooks = LoopHooks(on_step=on_step, backward=objective.backward)
        optimise(objective, list(trainable.values()), optimizer, schedule, settings, hooks, checkpointer)
    model.eval()
