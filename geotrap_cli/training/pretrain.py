"""``geotrap pretrain``: train a generator from scratch on the source objects of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from geotrap_cli.evaluation.evaluate import EvaluationSettings, evaluate
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import DefenseTable
from geotrap_cli.progress import StepProgress
from geotrap_cli.runs import RunFolder
from geotrap_cli.training.checkpoints import Checkpointer, model_writer
from geotrap_cli.training.device_options import check_training
from geotrap_cli.training.effort import EffortMeter
from geotrap_cli.training.inputs import record_inputs
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.losses import with_total
from geotrap_cli.training.moving_average import MovingAverage
from geotrap_cli.training.muon import Muon
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.processes import join_processes
from geotrap_cli.training.schedules import make_schedule
from geotrap_cli.training.shared_run import create_or_resume_shared
from geotrap_cli.training.surface import fade, surface_loss
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench, prepare_views
from geotrap_cli.usage import Usage

SHOWN = ("total", "rgb", "alpha", "surface_means", "surface_rgb")


@dataclass(frozen=True)
class PretrainResult:
    """Where the weights are, what they score on held-out source objects, and what they cost."""

    run: Path
    steps: int
    scores: dict[str, float]
    usage: Usage

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        cost = self.usage.payload()
        return {"run": str(self.run), "steps": self.steps, "scores": self.scores, "cost": cost}

    def render(self, console: Console) -> None:
        """Print the result."""
        scores = "  ".join(f"{name} {value:.3f}" for name, value in self.scores.items())
        console.print(f"held-out source objects: {scores}")
        console.print(f"weights: {self.run / 'model'}")


class PretrainObjective:
    """LGM's reconstruction loss plus a warm-up on known surfaces that fades out.

    Args:
        bench: Data and settings.
        model: The generator that is trained.
    """

    def __init__(self, bench: Workbench, model: GaussianGenerator) -> None:
        train, pretrain = bench.profile.train, bench.profile.pretrain
        self.bench, self.model, self.network = bench, model, bench.processes.replicate(model)
        self.reconstruction = bench.reconstruction_loss()
        self.surface = hasattr(bench.dataset, "surface_points") and pretrain.surface_weight > 0
        seed, ids = train.seed, bench.splits.source_train
        self.warm = bench.sampler(ids, train.supervised_views, seed, surface=self.surface)
        self.plain = bench.sampler(ids, train.supervised_views, seed)

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        """Return the named loss terms of one step."""
        train, pretrain, device = self.bench.profile.train, self.bench.profile.pretrain, self.bench.device
        share = fade(step, train.steps, pretrain.surface_fraction, pretrain.surface_floor)
        weight = pretrain.surface_weight * share if self.surface else 0.0
        sampler, processes = self.warm if weight > 0 else self.plain, self.bench.processes
        batch = sampler.batch(step, train.batch_size, processes.part).to(device)
        with autocast(train.precision, device):
            raw = self.network(batch.images)
        gaussians = self.model.activate(raw)
        rendering = weight == 0 or step >= pretrain.rendering_from * train.steps
        terms = self.reconstruction(gaussians, batch) if rendering else {}
        if weight > 0:
            near = surface_loss(gaussians, batch, processes.average)
            terms |= {name: weight * term for name, term in near.items()}
        return with_total(terms)


def run_pretrain(options: CommonOptions, loaded: LoadedProfile, console: Console) -> PretrainResult:
    """Train from random weights; checkpoints hold the moving average, which is what is released.

    Raises:
        NonFiniteError: The loss or a weight is not finite.
    """
    profile = loaded.profile
    with join_processes(options.device) as processes:
        processes.check_batch("train.batch_size", profile.train.batch_size)
        check_training(profile.device, processes)
        torch.manual_seed(profile.train.seed)
        model = open_model(profile, processes.device, weights="random").train()
        bench = open_workbench(profile, processes.device, model, processes)
        run = create_or_resume_shared(processes, "pretrain", options, loaded)
        with run:
            record_inputs(run, bench, model)
            prepare_views(bench, [*bench.splits.source_train, *bench.splits.source_eval], console, options.quiet)
            scores, usage = _train(bench, model, run, console, options.quiet)
            result = PretrainResult(run.path, profile.train.steps, scores, usage)
            run.finish({name: value for name, value in result.payload().items() if name != "run"})
    return result


def _train(
    bench: Workbench, model: Any, run: RunFolder, console: Console, quiet: bool
) -> tuple[dict[str, float], Usage]:
    train, processes = bench.profile.train, bench.processes
    parameters = bench.start_training(model, dict(model.named_parameters()))
    average = MovingAverage(parameters, bench.profile.pretrain.ema_decay)
    optimizer = _optimizer(bench, model)
    folder, writer = run.path / "checkpoints" / "last", model_writer(processes, model, average.shadow)
    with processes.main_first():
        meter = EffortMeter(DefenseTable(), train.batch_size, folder, processes.count, processes.device)

    def score() -> dict[str, float]:
        settings = EvaluationSettings.from_profile(
            bench.profile, bench.input_size, bench.output_size, bench.input_views
        )
        ids = bench.draw(bench.splits.source_eval)
        with average.applied():
            return evaluate(model, bench.dataset, ids, settings=settings, device=bench.device).means()

    tensors = {**parameters, **{f"ema.{name}": value for name, value in average.shadow.items()}}
    checkpointer = Checkpointer(folder, tensors, optimizer, writer, meter.write, processes)
    with (
        StepProgress(console, "pretrain", train.steps, SHOWN, train.log_every, quiet) as progress,
        meter.watching(model),
    ):

        def on_step(step: int, metrics: Metrics) -> None:
            meter.finished_step(step)
            average.update(step)
            progress.update(step, metrics)
            if step % train.log_every == 0 or step == train.steps:
                run.log({"step": step, **metrics})

        hooks = LoopHooks(on_step=on_step, on_evaluate=lambda step: run.log({"step": step, "source_eval": score()}))
        settings = LoopSettings(train.steps, train.clip_norm, train.checkpoint_every, _evaluations(bench))
        schedule = make_schedule(train.schedule, train.steps, train.warmup_steps)
        optimise(
            PretrainObjective(bench, model),
            list(parameters.values()),
            optimizer,
            schedule,
            settings,
            hooks,
            checkpointer,
            processes,
        )
    usage, write = meter.usage, writer()
    if processes.main:
        write(run.path / "model")
    return score(), usage


def _optimizer(bench: Workbench, model: Any) -> torch.optim.AdamW:
    train, pretrain = bench.profile.train, bench.profile.pretrain
    shared: dict[str, Any] = {"lr": train.lr, "betas": train.betas, "weight_decay": train.weight_decay}
    parameters = dict(model.named_parameters())
    if pretrain.optimizer == "adamw":
        return torch.optim.AdamW(parameters.values(), fused=True, **shared)
    # What reads the input and what writes the output have units of their own, which a spectral norm ignores.
    ends = [name for unit in (*model.input_units, *model.head_units) for name in model.units().get(unit, ())]
    inner = [name for name, value in parameters.items() if value.ndim >= 2 and name not in ends]
    others = [value for name, value in parameters.items() if name not in inner]
    return Muon([parameters[name] for name in inner], others, matrix_lr=pretrain.matrix_lr, **shared)


def _evaluations(bench: Workbench) -> frozenset[int]:
    every = bench.profile.pretrain.eval_every
    return frozenset(range(every, bench.profile.train.steps, every))
