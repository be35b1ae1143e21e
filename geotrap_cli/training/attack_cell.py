"""One cell of the attack grid: one attack on one set of weights, evaluated along the way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from geotrap_cli.atomic import atomic_path
from geotrap_cli.attacks import Attack
from geotrap_cli.errors import NonFiniteError
from geotrap_cli.evaluation.cells import SUBJECTS, Cell, CellEvaluation
from geotrap_cli.evaluation.clouds import Points
from geotrap_cli.evaluation.evaluate import Evaluation, EvaluationSettings, Observer, evaluate
from geotrap_cli.evaluation.geometry import GeometryRecorder
from geotrap_cli.evaluation.kept_gaussians import KeptGaussians, kept_file
from geotrap_cli.evaluation.perceptual import LpipsTerm
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.progress import StepProgress
from geotrap_cli.training.attack_context import attack_context, attack_loss, open_attack_data
from geotrap_cli.training.attack_objective import AttackObjective, PhasePlan
from geotrap_cli.training.cell_checkpoint import CellCheckpoint, CellProgress
from geotrap_cli.training.cell_pictures import KEPT_OBJECTS, picture_steps, save_pictures, small_view, to_bytes
from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.health import HealthRecorder
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.workbench import Workbench
from geotrap_cli.usage import UsageMeter

SHOWN = ("total", "rgb", "alpha", "perceptual")


@dataclass
class CellRunner:
    """Attacks one model and measures it at evenly spaced steps.

    Attributes:
        bench: Data and settings.
        method: Name of the attack's variant.
        family: Key of the attack.
        subject: ``undefended`` or ``defended``.
        attack: The attack; the runner works on a copy of its own.
        model: The weights under attack; changed in place.
        scorer: LPIPS, where it can be computed.
        references: What the undefended weights make of each measured object, see `reference_clouds`.
        log: Takes lines for the metrics of the run.
        checkpoint: Where the cell stands and goes on from; None, or an attack that is not resumable: it begins anew.
    """

    bench: Workbench
    method: str
    family: str
    subject: str
    attack: Attack
    model: GaussianGenerator
    scorer: LpipsTerm | None = None
    references: Mapping[str, Points] | None = None
    log: Callable[[dict[str, Any]], None] = lambda _: None
    checkpoint: CellCheckpoint | None = None
    health: HealthRecorder = field(default_factory=HealthRecorder)
    evaluations: list[CellEvaluation] = field(default_factory=list)
    pictures: dict[str, torch.Tensor] = field(default_factory=dict)
    truth: dict[str, torch.Tensor] = field(default_factory=dict)
    gaussians: KeptGaussians = field(default_factory=KeptGaussians)

    def __post_init__(self) -> None:
        self.attack = copy.deepcopy(self.attack)
        self.plan = PhasePlan(self.attack.phases(self.bench.profile.attack.steps))
        self._usage = UsageMeter(self.bench.device, self.bench.processes.count)
        if not self.attack.resumable:
            self.checkpoint = None

    @property
    def name(self) -> str:
        """The cell's name, as its files carry it."""
        return f"{self.method}-{self.subject}"

    @property
    def _grid(self) -> frozenset[int]:
        return evaluation_steps(self.plan.steps, self.bench.profile.attack.evaluations)

    def run(self, console: Console, quiet: bool) -> Cell:
        """Run the attack and return what was measured; a diverged attack ends early and says so in its health."""
        earlier = self._read_checkpoint()
        before = (0.0, 0) if earlier is None else (earlier.seconds, earlier.pixels)
        self._usage = UsageMeter(self.bench.device, self.bench.processes.count, *before)
        with self._usage.watching():
            return self._attack(earlier, console, quiet)

    def _attack(self, earlier: CellProgress | None, console: Console, quiet: bool) -> Cell:
        seed = self.bench.profile.attack.seed
        if earlier is None:
            # The released weights as they are, before the attack lays a hand on them.
            self._measure(0)
        data, loss = open_attack_data(self.bench, self.attack), attack_loss(self.bench, self.attack)
        # The same draw for both subjects, so that edits and adapters start from the same numbers.
        torch.manual_seed(seed)
        self.attack.edit(self.model, attack_context(self.bench, data, self.plan.steps, loss))
        torch.manual_seed(seed)
        trained = self.bench.start_training(self.model, self.attack.prepare(self.model))
        if earlier is not None:
            self._recall(earlier)
        objective = AttackObjective(self.bench, self.model, self.attack, self.plan, data, loss, self.health)
        diverged = not self._optimise(objective, trained, console, quiet)
        health, (first, last) = self.health.report(), self.health.edges()
        usage = self._usage.so_far(self.health.steps * self.bench.profile.attack.batch_size)
        return Cell(
            method=self.method,
            subject=self.subject,
            steps=self.plan.steps,
            seed=seed,
            evaluations=self.evaluations,
            health=replace(health, nonfinite=1) if diverged else health,
            seconds=usage.seconds,
            trainable_parameters=sum(parameter.numel() for parameter in trained.values()),
            first_loss=first,
            last_loss=last,
            family=self.family,
            usage=usage,
        )

    def _optimise(
        self, objective: AttackObjective, trained: Mapping[str, torch.nn.Parameter], console: Console, quiet: bool
    ) -> bool:
        """Take the steps and the last measurement; return whether all numbers stayed finite."""
        say = Console(quiet=True) if quiet else console
        finite = self._stays_finite(lambda: self._take_steps(objective, trained, console, quiet), say)
        self.model = self.bench.processes.joined(self.model)
        return finite and self._stays_finite(self._end, say)

    def _stays_finite(self, action: Callable[[], None], console: Console) -> bool:
        try:
            action()
        except NonFiniteError as error:
            console.print(f"attack {self.name} diverged: {error.message}", highlight=False)
            return False
        return True

    def _take_steps(
        self, objective: AttackObjective, trained: Mapping[str, torch.nn.Parameter], console: Console, quiet: bool
    ) -> None:
        attack, steps, parameters = self.attack, self.plan.steps, list(trained.values())
        optimizer, checkpoint = attack.optimizer(parameters), self.checkpoint
        every = None if checkpoint is None else checkpoint.every
        self.model.train()
        with StepProgress(console, f"attack {self.name}", steps, SHOWN, 20, quiet) as progress:
            hooks = self._hooks(parameters, progress)
            evaluate_at = (self._grid | picture_steps(steps)) - {steps}
            settings = LoopSettings(steps, attack.config.clip_norm, every, evaluate_at)
            checkpointer = self._checkpointer(trained, optimizer)
            schedule, processes = attack.schedule(steps), self.bench.processes
            optimise(objective, parameters, optimizer, schedule, settings, hooks, checkpointer, processes)

    def _end(self) -> None:
        self.attack.finish(self.model)
        self._measure_rest(self._grid)

    def _checkpointer(
        self, trained: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
    ) -> Checkpointer | None:
        if self.checkpoint is None:
            return None
        folder, processes = self.checkpoint.folder, self.bench.processes
        return Checkpointer(folder, trained, optimizer, write_more=self._write_checkpoint, processes=processes)

    def _write_checkpoint(self, folder: Path) -> None:
        assert self.checkpoint is not None
        shown = (self.pictures, self.truth, self.gaussians.tensors)
        progress = CellProgress(self.evaluations, self.health.state(), self._usage.seconds, *shown)
        progress = replace(progress, pixels=self._usage.pixels, memory=self.attack.memory())
        self.checkpoint.write(folder, progress)

    def _read_checkpoint(self) -> CellProgress | None:
        """Take up what the cell had measured, where it was killed midway."""
        with self.bench.processes.main_first():
            found = None if self.checkpoint is None else self.checkpoint.read()
        if found is not None:
            self.evaluations, self.pictures, self.truth = found.evaluations, found.pictures, found.truth
            self.gaussians = KeptGaussians(found.gaussians)
            self.health.restore(found.health)
        return found

    def _recall(self, earlier: CellProgress) -> None:
        self.attack.recall(earlier.memory)
        if earlier.random_state is not None:
            torch.set_rng_state(earlier.random_state)

    def _hooks(self, parameters: list[torch.nn.Parameter], progress: StepProgress) -> LoopHooks:
        every = self.bench.profile.train.log_every

        def on_step(step: int, metrics: Metrics) -> None:
            if self.plan.is_last(step - 1):
                # Losses on other data, or of another kind, would not compare with it.
                self.health.see_loss(metrics["total"])
            if step % every == 0 or step in (1, self.plan.steps):
                self.log({"cell": self.name, "step": step, "phase": self.plan.at(step - 1).name, **metrics})
            progress.update(step, metrics)
            self.attack.after_step(self.model, step)

        return LoopHooks(
            on_step=on_step,
            on_gradient=lambda _: self.health.see_gradients(parameters),
            on_evaluate=self._measure_on_the_way,
            should_stop=lambda _: self.attack.stopped(),
        )

    def _measure_on_the_way(self, step: int) -> None:
        with self.attack.as_released(self.model):
            if step in self._grid:
                self._measure(step)
            else:
                self._keep(step, self._evaluate(self.bench.splits.eval_target, limit=KEPT_OBJECTS))

    def _measure_rest(self, grid: frozenset[int]) -> None:
        """Measure what the attacker ends up with; steps that it saved by stopping early find the same weights."""
        before = self.evaluations[-1].step
        self._measure(self.plan.steps)
        final = self.evaluations.pop()
        self.evaluations += [CellEvaluation(step, final.target, None) for step in sorted(grid) if before < step]
        self.evaluations[-1:] = [final]

    def _measure(self, step: int) -> None:
        bench = self.bench
        ends = step in (0, self.plan.steps)
        geometry = GeometryRecorder()
        observe = geometry.see if ends else None
        target = self._evaluate(bench.splits.eval_target, observe=observe)
        source = self._evaluate(bench.splits.source_eval) if ends and bench.splits.source_eval else None
        scores = (target.scores, source.scores if source else None)
        self.evaluations.append(CellEvaluation(step, *scores, geometry.report()))
        self._keep(step, target)
        if source is not None:
            self._keep_gaussians(step, source)

    def _keep(self, step: int, evaluation: Evaluation) -> None:
        """Keep the pictures and Gaussians of an evaluation of target objects."""
        whole = step in (0, self.plan.steps)
        for name, kept in evaluation.renders.items():
            self.pictures[f"{name}@{step}"] = to_bytes(kept.rgb if whole else small_view(kept.rgb))
            self.truth[name] = to_bytes(kept.gt_rgb)
        self._keep_gaussians(step, evaluation)

    def _keep_gaussians(self, step: int, evaluation: Evaluation) -> None:
        if self.subject not in SUBJECTS:
            return
        for name, kept in list(evaluation.renders.items())[: self.bench.profile.attack.keep_gaussians]:
            self.gaussians.add(name, step, kept)

    def _evaluate(self, ids: tuple[str, ...], limit: int | None = None, observe: Observer | None = None) -> Evaluation:
        bench = self.bench
        settings = EvaluationSettings.from_profile(
            bench.profile, bench.input_size, bench.output_size, bench.input_views
        )
        chosen = bench.draw(ids)[:limit]
        return evaluate(
            self.model,
            bench.dataset,
            chosen,
            settings,
            device=bench.device,
            keep_renders=KEPT_OBJECTS,
            scorer=self.scorer,
            references=self.references,
            observe=observe,
        )

    def save(self, run: Path) -> None:
        """Write the attacked weights, the pictures and the Gaussians into the run folder."""
        with atomic_path(run / "weights" / self.name) as temporary:
            self.attack.save(self.model, temporary)
        save_pictures(self.pictures, run / "renders" / f"{self.name}.safetensors")
        save_pictures(self.truth, run / "renders" / "truth.safetensors")
        if self.gaussians.tensors:
            self.gaussians.save(kept_file(run, self.method, self.subject))


def evaluation_steps(steps: int, count: int) -> frozenset[int]:
    """Return the numbers of steps after which an attack is evaluated: evenly spaced, the last one included."""
    return frozenset(max(1, round(steps * i / count)) for i in range(1, count + 1))
