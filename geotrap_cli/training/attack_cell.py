"""One cell of the attack grid: one attack on one set of weights, evaluated along the way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from rich.console import Console

from geotrap_cli.atomic import atomic_path
from geotrap_cli.attacks import Attack
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import Evaluation, EvaluationSettings, evaluate
from geotrap_cli.evaluation.perceptual import LpipsTerm
from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.progress import StepProgress
from geotrap_cli.tensor_files import write_tensors
from geotrap_cli.training.health import HealthRecorder
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.losses import with_total
from geotrap_cli.training.precision import autocast
from geotrap_cli.training.workbench import Workbench

SHOWN = ("total", "rgb", "alpha", "perceptual")


class AttackObjective:
    """The attacker's loss on its own target objects: reconstruction plus whatever the attack adds.

    Args:
        bench: Data and settings.
        model: The generator under attack.
        attack: The attack.
        health: Where the step's Gaussians are recorded.
    """

    def __init__(self, bench: Workbench, model: LGM, attack: Attack, health: HealthRecorder) -> None:
        table = bench.profile.attack
        self.bench, self.model, self.attack, self.health = bench, model, attack, health
        self.loss = bench.reconstruction_loss()
        self.sampler = bench.sampler(bench.splits.attack_target, table.supervised_views, table.seed)

    def __call__(self, step: int) -> dict[str, torch.Tensor]:
        """Return the named loss terms of one step."""
        profile, device = self.bench.profile, self.bench.device
        batch = self.sampler.batch(step, profile.attack.batch_size).to(device)
        with autocast(profile.train.precision, device):
            raw = self.model(batch.images)
        gaussians = activate(raw)
        self.health.see_gaussians(gaussians)
        return with_total({**self.loss(gaussians, batch), **self.attack.extra_terms(gaussians, batch)})


@dataclass
class CellRunner:
    """Attacks one model and measures it at evenly spaced steps.

    Attributes:
        bench: Data and settings.
        method: Key of the attack.
        subject: ``undefended`` or ``defended``.
        attack: The attack.
        model: The weights under attack; changed in place.
        scorer: LPIPS, where it can be computed.
    """

    bench: Workbench
    method: str
    subject: str
    attack: Attack
    model: LGM
    scorer: LpipsTerm | None = None
    health: HealthRecorder = field(default_factory=HealthRecorder)
    evaluations: list[CellEvaluation] = field(default_factory=list)
    pictures: dict[str, torch.Tensor] = field(default_factory=dict)
    truth: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The cell's name, as its files carry it."""
        return f"{self.method}-{self.subject}"

    def run(self, console: Console, quiet: bool) -> Cell:
        """Run the attack and return what was measured; a diverged attack ends early and says so in its health."""
        table = self.bench.profile.attack
        # The same draw for both subjects, so that adapters start from the same numbers.
        torch.manual_seed(table.seed)
        trained = self.attack.prepare(self.model)
        parameters = list(trained.values())
        began = time.perf_counter()
        self._measure(0)
        diverged = not self._optimise(parameters, console, quiet)
        health, (first, last) = self.health.report(), self.health.edges()
        if diverged:
            health = replace(health, nonfinite=1)
        return Cell(
            method=self.method,
            subject=self.subject,
            steps=table.steps,
            seed=table.seed,
            evaluations=self.evaluations,
            health=health,
            seconds=time.perf_counter() - began,
            trainable_parameters=sum(parameter.numel() for parameter in parameters),
            first_loss=first,
            last_loss=last,
        )

    def _optimise(self, parameters: list[torch.nn.Parameter], console: Console, quiet: bool) -> bool:
        table = self.bench.profile.attack
        objective = AttackObjective(self.bench, self.model, self.attack, self.health)
        self.model.train()
        with StepProgress(console, f"attack {self.name}", table.steps, SHOWN, 20, quiet) as progress:

            def on_step(step: int, metrics: Metrics) -> None:
                self.health.see_loss(metrics["total"])
                progress.update(step, metrics)

            hooks = LoopHooks(
                on_step=on_step,
                on_gradient=lambda _: self.health.see_gradients(parameters),
                on_evaluate=self._measure,
            )
            settings = LoopSettings(table.steps, self.attack.config.clip_norm, evaluate_at=evaluation_steps(table))
            optimizer = self.attack.optimizer(parameters)
            try:
                optimise(objective, parameters, optimizer, self.attack.schedule(table.steps), settings, hooks)
            except NonFiniteError as error:
                console.print(f"attack {self.name} diverged: {error.message}", highlight=False)
                return False
        return True

    def _measure(self, step: int) -> None:
        bench = self.bench
        ends = step in (0, bench.profile.attack.steps)
        target = self._evaluate(bench.splits.eval_target, keep=KEPT_OBJECTS if ends else 0)
        source = self._evaluate(bench.splits.source_eval) if ends else None
        self.evaluations.append(CellEvaluation(step, target.scores, source.scores if source else None))
        for name, kept in target.renders.items():
            self.pictures[f"{name}@{step}"] = to_bytes(kept.rgb)
            self.truth[name] = to_bytes(kept.gt_rgb)

    def _evaluate(self, ids: tuple[str, ...], keep: int = 0) -> Evaluation:
        bench = self.bench
        settings = EvaluationSettings.from_profile(bench.profile, bench.input_size, bench.output_size)
        chosen = bench.draw(ids)
        return evaluate(
            self.model,
            bench.dataset,
            chosen,
            settings,
            device=bench.device,
            keep_renders=keep,
            scorer=self.scorer,
        )

    def save(self, run: Path) -> None:
        """Write the attacked weights and the pictures into the run folder."""
        with atomic_path(run / "weights" / self.name) as temporary:
            self.attack.save(self.model, temporary)
        save_pictures(self.pictures, run / "renders" / f"{self.name}.safetensors")
        save_pictures(self.truth, run / "renders" / "truth.safetensors")


#: Objects whose pictures are kept for the contact sheet.
KEPT_OBJECTS = 6


def evaluation_steps(table: object) -> frozenset[int]:
    """Return the numbers of steps after which an attack is evaluated: evenly spaced, the last one included."""
    steps, count = table.steps, table.evaluations  # type: ignore[attr-defined]
    return frozenset(max(1, round(steps * i / count)) for i in range(1, count + 1))


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Return images with values in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()


def save_pictures(pictures: dict[str, torch.Tensor], path: Path) -> None:
    """Write uint8 pictures by name, atomically."""
    with atomic_path(path) as temporary:
        write_tensors(temporary, pictures)
