"""The optimisation loop that pre-training, defense and attack share."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from geotrap_cli.errors import NonFiniteError
from geotrap_cli.models.divided import whole
from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.interrupt import InterruptGuard
from geotrap_cli.training.processes import ALONE, Processes
from geotrap_cli.training.schedules import ScheduleFactor

#: Named loss terms of one step; ``total`` is what is minimised. A function of the step alone: resuming repeats it.
Objective = Callable[[int], dict[str, torch.Tensor]]
Metrics = dict[str, float]


@dataclass(frozen=True)
class LoopSettings:
    """Length of the loop and what happens on the way.

    Attributes:
        steps: Number of optimizer steps.
        clip_norm: Largest gradient norm over all parameters; None leaves gradients as they are.
        checkpoint_every: Steps between checkpoints; None writes none.
        evaluate_at: Numbers of finished steps after which ``on_evaluate`` is called.
    """

    steps: int
    clip_norm: float | None = None
    checkpoint_every: int | None = None
    evaluate_at: frozenset[int] = frozenset()


def _ignore(*_: object) -> None:
    """Stand in for a hook that nobody needs."""


def backward_total(terms: Mapping[str, torch.Tensor]) -> Metrics:
    """Run backward from ``total``."""
    terms["total"].backward()
    return {}


def _never(_: int) -> bool:
    return False


@dataclass
class LoopHooks:
    """What the loop tells its caller.

    Attributes:
        on_step: Called after every optimizer step with the step's number (1 for the first) and its metrics.
        on_gradient: Called between backward and the optimizer's step, with gradients as they come, unclipped.
        on_evaluate: Called with the number of finished steps.
        backward: Sets gradients from the objective's terms and returns what there is to report of it.
        should_stop: Asked with the number of finished steps, after all other hooks; true ends the loop.
    """

    on_step: Callable[[int, Metrics], None] = _ignore
    on_gradient: Callable[[int], None] = _ignore
    on_evaluate: Callable[[int], None] = _ignore
    backward: Callable[[Mapping[str, torch.Tensor]], Metrics] = backward_total
    should_stop: Callable[[int], bool] = _never


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Multiply every group's base rate (its rate when the optimizer was made) by ``factor``."""
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
        group["lr"] = group["initial_lr"] * factor


def gradient_norm(parameters: Iterable[torch.Tensor], clip_norm: float | None) -> float:
    """Return the norm of all gradients, clipping them to ``clip_norm`` where one is given."""
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm is not None else math.inf)
    return float(whole(norm))


def optimise(
    objective: Objective,
    parameters: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: ScheduleFactor,
    settings: LoopSettings,
    hooks: LoopHooks,
    checkpointer: Checkpointer | None = None,
    processes: Processes = ALONE,
) -> None:
    """Minimise ``objective`` for ``settings.steps`` steps, from the checkpoint where there is one.

    Several processes take the steps together: metrics are means over them, and they end at the same step.

    Raises:
        NonFiniteError: The loss or the gradient norm is not finite; nothing was updated by that step and the last
            checkpoint stays.
        KeyboardInterrupt: The user interrupted; a checkpoint was written first.
    """
    start = checkpointer.restore() if checkpointer is not None else 0
    # Killed after the last step it meant to take, a run must not take another one.
    ended = bool(start) and processes.decided(hooks.should_stop(start))
    steps = range(start, start if ended else settings.steps)
    with InterruptGuard() as guard, _telling_what_is_kept(checkpointer):
        for step in steps:
            factor, done = schedule(step), step + 1
            metrics = _one_step(objective, parameters, optimizer, factor, settings, hooks, step, processes)
            hooks.on_step(done, metrics)
            if done in settings.evaluate_at:
                hooks.on_evaluate(done)
            due = settings.checkpoint_every and (done % settings.checkpoint_every == 0 or done == settings.steps)
            # Read once: a signal that comes in between must not end the run without its checkpoint.
            interrupted = processes.any(guard.requested)
            if checkpointer is not None and (due or interrupted):
                checkpointer.save(done)
            if interrupted:
                raise KeyboardInterrupt
            if processes.decided(hooks.should_stop(done)):
                break


@contextlib.contextmanager
def _telling_what_is_kept(checkpointer: Checkpointer | None) -> Iterator[None]:
    try:
        yield
    except NonFiniteError as error:
        if checkpointer is not None and (kept := checkpointer.kept()):
            error.hint = f"{error.hint}; {kept}" if error.hint else kept
        raise


def _one_step(
    objective: Objective,
    parameters: Sequence[torch.Tensor],
    optimizer: torch.optim.Optimizer,
    factor: float,
    settings: LoopSettings,
    hooks: LoopHooks,
    step: int,
    processes: Processes,
) -> Metrics:
    began = time.perf_counter()
    set_learning_rate(optimizer, factor)
    terms = objective(step)
    metrics = processes.mean({name: float(value.detach()) for name, value in terms.items()})
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        raise NonFiniteError(
            f"{bad[0]} is {metrics[bad[0]]} at step {step + 1}", "Lower the learning rate in a new run"
        )
    optimizer.zero_grad(set_to_none=True)
    metrics |= hooks.backward(terms)
    hooks.on_gradient(step)
    metrics["gradient_norm"] = gradient_norm(parameters, settings.clip_norm)
    if not math.isfinite(metrics["gradient_norm"]):
        raise NonFiniteError(f"the gradient is not finite at step {step + 1}", "Lower the learning rate in a new run")
    optimizer.step()
    metrics["lr"] = float(optimizer.param_groups[0]["lr"])
    metrics["seconds"] = time.perf_counter() - began
    return metrics
