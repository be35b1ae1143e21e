"""Fine-tuning with eight optimizers: a trap tuned against Adam's normalised steps may fall to others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import torch
from pydantic import Field
from torch import nn

from geotrap_attacks._sweep import Distinct
from geotrap_attacks._wrapped import Method, WrappedAttack, base_attack
from geotrap_cli.attacks import Attack, ScheduleConfig
from geotrap_cli.training.schedules import ScheduleFactor, make_schedule

if TYPE_CHECKING:
    from geotrap_cli.models.generator import GaussianGenerator

Name = Literal["sgd", "nesterov", "adam", "adamw", "adagrad", "adadelta", "lion", "schedule_free"]
Make = Callable[[list[nn.Parameter], float], torch.optim.Optimizer]


def _lion(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    from lion_pytorch import Lion

    return Lion(parameters, lr=lr)


def _schedule_free(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    from schedulefree import AdamWScheduleFree

    optimizer: torch.optim.Optimizer = AdamWScheduleFree(parameters, lr=lr)
    return optimizer


#: Each with a rate of its own, about the largest at which the loss of nano falls steadily from its first steps.
OPTIMIZERS: Final[dict[Name, tuple[float, Make]]] = {
    "sgd": (0.01, lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9)),
    "nesterov": (0.005, lambda parameters, lr: torch.optim.SGD(parameters, lr, momentum=0.9, nesterov=True)),
    "adam": (1e-4, torch.optim.Adam),
    "adamw": (1e-4, lambda parameters, lr: torch.optim.AdamW(parameters, lr, weight_decay=0.05)),
    "adagrad": (3e-4, torch.optim.Adagrad),
    "adadelta": (0.1, torch.optim.Adadelta),
    "lion": (6e-5, _lion),
    "schedule_free": (3e-4, _schedule_free),
}


class OptimizerSweepConfig(ScheduleConfig):
    """Options of the sweep over optimizers."""

    method: Method = Field(default="full", description="What is trained.")
    optimizers: Distinct[Name] = Field(
        default=tuple(OPTIMIZERS), min_length=1, description="Optimizers, one cell each; schedule_free has no schedule."
    )
    lr_factor: float = Field(default=1.0, gt=0, description="Multiplies the own learning rate of every optimizer.")


class OptimizedAttack(WrappedAttack):
    """An attack with one of the optimizers, at its own rate.

    Args:
        inner: What is trained, under its schedule.
        name: The optimizer.
        lr_factor: Multiplies its rate.
    """

    key: ClassVar[str] = "optimizer_sweep"

    def __init__(self, inner: Attack, name: Name, lr_factor: float) -> None:
        super().__init__(inner)
        self.name, self.lr_factor = name, lr_factor
        self._averaging: Any = None

    def needs_whole_weights(self) -> str | None:
        """Its optimizers are those of several packages."""
        return "not all of its optimizers know divided weights"

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the optimizer."""
        lr, make = OPTIMIZERS[self.name]
        optimizer = make(parameters, lr * self.lr_factor)
        if self.name == "schedule_free":
            self._averaging = optimizer
            self._averaging.train()
        return optimizer

    def schedule(self, steps: int) -> ScheduleFactor:
        """Return the schedule of the attack, or none for the optimizer that averages instead."""
        return make_schedule("constant", steps, 0) if self.name == "schedule_free" else super().schedule(steps)

    @contextlib.contextmanager
    def as_released(self, model: GaussianGenerator) -> Iterator[None]:
        """Put the average of all steps into ``model``, where the optimizer keeps one."""
        with super().as_released(model):
            if self._averaging is None:
                yield
                return
            self._averaging.eval()
            try:
                yield
            finally:
                self._averaging.train()

    def finish(self, model: GaussianGenerator) -> None:
        """End with the average of all steps, where the optimizer keeps one."""
        if self._averaging is not None:
            self._averaging.eval()
        super().finish(model)


class OptimizerSweepAttack(Attack):
    """SGD, Nesterov, Adam, AdamW, Adagrad, Adadelta, Lion and schedule-free AdamW, each at a rate of its own."""

    key: ClassVar[str] = "optimizer_sweep"
    summary: ClassVar[str] = "eight optimizers, from SGD to Lion and schedule-free AdamW"
    source: ClassVar[str] = "SOPHON (Deng et al. 2024) and TAR (Tamirisa et al. 2024) test several optimizers"
    budget: ClassVar[str] = "attack.steps for each optimizer"
    Config: ClassVar[type[OptimizerSweepConfig]] = OptimizerSweepConfig
    config: OptimizerSweepConfig

    def variants(self) -> dict[str, Attack]:
        """Return one attack an optimizer."""
        config = self.config
        shared = config.model_dump(include=set(ScheduleConfig.model_fields))
        return {
            f"{self.key}-{name}": OptimizedAttack(base_attack(config.method, **shared), name, config.lr_factor)
            for name in config.optimizers
        }
