"""What an attack is: what it edits and trains, on which data, with which optimizer and loss. The loop is shared."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

import torch
from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer
from torch import nn

from geotrap_cli.profile.base import Beta, PluginConfig
from geotrap_cli.training.schedules import ScheduleFactor, make_schedule

if TYPE_CHECKING:
    from geotrap_cli.data.views import ViewBatch
    from geotrap_cli.gaussians import GaussianBatch
    from geotrap_cli.models.generator import GaussianGenerator

#: Whose objects a step is taken on: the attacker's target objects, public source objects, or those of an honest user.
Data = Literal["target", "source", "benign"]
#: The batch of a step, counted from 0, with that many objects, on the attack's device.
Sampler = Callable[[int, int], "ViewBatch"]
#: Named terms of a loss, unsummed.
LossTerms = dict[str, torch.Tensor]
#: The rendering loss of the profile.
ReconstructionTerms = Callable[["GaussianBatch", "ViewBatch"], LossTerms]

Options = TypeVar("Options", bound="StepConfig")


def _none_for_zero(value: Any) -> Any:
    return None if value == 0 and not isinstance(value, bool) else value


class StepConfig(PluginConfig):
    """The option of every attack; what takes AdamW steps has those of :class:`AttackConfig` beside it."""

    clip_norm: Annotated[float | None, BeforeValidator(_none_for_zero)] = Field(
        default=1.0, gt=0, description="Largest gradient norm; 0: gradients are left as they are."
    )

    @model_serializer(mode="wrap")
    def _zero_for_none(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A profile has no None: left out of it, the default would come back.
        values: dict[str, Any] = plain(self)
        return values if self.clip_norm is not None else values | {"clip_norm": 0.0}


class ScheduleConfig(StepConfig):
    """Options of an attack whose learning rate follows a schedule."""

    schedule: Literal["constant", "linear", "cosine", "wsd", "one_cycle"] = Field(
        default="cosine", description="Learning-rate schedule over the attack."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps over which the learning rate rises.")


class AttackConfig(ScheduleConfig):
    """Options of an attack that fine-tunes with AdamW."""

    lr: float = Field(default=1e-4, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled weight decay of AdamW.")
    betas: tuple[Beta, Beta] = Field(
        default=(0.9, 0.95), description="Moment decay rates of AdamW; LGM uses (0.9, 0.95)."
    )


@dataclass(frozen=True)
class Phase:
    """A stretch of an attack on one kind of data.

    Attributes:
        name: What it is for, such as ``heal``; a line of the metrics carries it.
        steps: Optimizer steps.
        data: Whose objects they are taken on.
    """

    name: str
    steps: int
    data: Data = "target"


@dataclass(frozen=True)
class AttackContext:
    """What the attacker has besides the released weights. The undefended weights are never among it.

    Attributes:
        seed: Seed of the attacker's batches.
        steps: Optimizer steps of all phases.
        batch_size: Objects a step.
        device: Where batches come and models are.
        target: Batches of the attacker's own target objects.
        source: Batches of public source objects; raises UsageError where there are none, as ``benign`` does.
        benign: Batches of the category of an honest user.
        validation: Every object that the attacker held out, in batches, the same at each call. Raises UsageError
            unless the attack sets ``uses_validation``, as nothing is held out then.
        reconstruction_loss: The rendering loss of the profile, as unsummed terms.
    """

    seed: int
    steps: int
    batch_size: int
    device: torch.device
    target: Sampler
    source: Sampler
    benign: Sampler
    validation: Callable[[], Iterator[ViewBatch]]
    reconstruction_loss: ReconstructionTerms


@dataclass(frozen=True)
class AttackSetting:
    """What an attack has to fit.

    Attributes:
        steps: The profile's budget, optimizer steps.
        units: Units of the generator.
        family: Key of the generator's family.
        affine_head: Whether its raw channels are an affine map of what enters its head.
        head_layers: Convolutions of its head.
    """

    steps: int
    units: int
    family: str = "lgm"
    affine_head: bool = True
    head_layers: int = 2


class Attack:
    """An attacker's way of fine-tuning released weights; plug-ins of the group ``geotrap.attacks``.

    The base class is full fine-tuning; a plug-in overrides what it does otherwise. In order: ``edit``, ``prepare``,
    ``optimizer`` and ``schedule``, then for each step ``gaussians``, ``loss_terms`` and ``after_step``, at last
    ``finish`` and ``save``. Every cell runs a fresh copy, so that an attack may keep what it needs on itself.

    Attributes:
        key: Entry-point name.
        summary: One line for listings.
        source: Where it is from, one line.
        assumes: What the attacker is assumed to have, one line.
        budget: What it costs the attacker, one line.
        Config: Its options.
        uses_validation: Whether it holds out some of its target objects to choose by; the others train.
        perceptual: Whether its loss has the perceptual term, where the profile has one.
    """

    key: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str] = ""
    assumes: ClassVar[str] = "the released weights and target objects"
    budget: ClassVar[str] = "attack.steps"
    Config: ClassVar[type[StepConfig]] = AttackConfig
    uses_validation: bool = False
    perceptual: bool = True

    def __init__(self, config: StepConfig | None = None) -> None:
        self.config = config if config is not None else self.Config()

    def variants(self) -> dict[str, Attack]:
        """Return what is run, by name: the attack itself, or the variants of a sweep as ``<key>-<variant>``."""
        return {self.key: self}

    def available_variants(self, objects: int) -> dict[str, Attack]:
        """Return the variants that differ for an attacker with ``objects`` target objects; all, unless overridden."""
        del objects
        return self.variants()

    def missing(self) -> str | None:
        """Return the option that is not set and without which the attack cannot run; None where it can.

        An attack that is named is then refused before anything runs; a suite leaves it out and says so.
        """
        return None

    def misfit(self, setting: AttackSetting) -> str | None:
        """Return why this variant cannot run in ``setting``; None where it can, as unless overridden.

        Variants that cannot are left out; an attack without any that can is refused before anything runs.
        """
        del setting
        return None

    def indivisible(self) -> str | None:
        """Return why several processes cannot share a batch of this attack; None where they can, as unless overridden.

        They can where each of its loss terms is a mean over the objects of a batch.
        """
        return None

    def needs_whole_weights(self) -> str | None:
        """Return why the weights of this attack cannot be divided over processes (FSDP); None where they can.

        They can where it looks at the values of weights in ``edit`` and ``prepare`` only, ``prepare`` chooses among the
        model's own parameters, and the optimizer moves each value by its own gradients. Unless overridden, attacks say
        so that leave the methods alone which are given weights or the optimizer after that.
        """
        kind = type(self)
        for name in ("optimizer", "after_step", "as_released", "finish", "save"):
            if getattr(kind, name) is not getattr(Attack, name):
                return f"what it does in {name} may need whole weights"
        return None

    def target_objects(self, ids: Sequence[str], seed: int) -> Sequence[str]:
        """Return which of the attacker's target objects ``ids`` the attack uses; all, unless overridden."""
        del seed
        return ids

    def phases(self, steps: int) -> tuple[Phase, ...]:
        """Return what the steps are taken on; ``steps`` is the profile's budget, and their sum the attack's."""
        return (Phase("target", steps),)

    def edit(self, model: GaussianGenerator, context: AttackContext) -> None:
        """Change weights before anything is trained (surgery, closed-form fits); nothing, unless overridden.

        Random numbers come from torch's global generator, which the caller seeds.
        """

    def prepare(self, model: GaussianGenerator) -> dict[str, nn.Parameter]:
        """Make ``model`` ready (adapters, frozen parts) and return what is trained, by name: every parameter here.

        Random initialisation uses torch's global generator, which the caller seeds. Also called on a model without
        memory (the ``meta`` device) to count what would be trained, without ``edit`` before it.
        """
        model.requires_grad_(True)
        return dict(model.named_parameters())

    def optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """Return the attack's optimizer: AdamW unless a plug-in says otherwise."""
        config = self._options(AttackConfig)
        fused = all(parameter.is_cuda for parameter in parameters)
        return torch.optim.AdamW(
            parameters, lr=config.lr, weight_decay=config.weight_decay, betas=config.betas, fused=fused
        )

    def schedule(self, steps: int) -> ScheduleFactor:
        """Return the factor of the learning rate at each step of an attack of ``steps`` steps in all phases."""
        config = self._options(ScheduleConfig)
        return make_schedule(config.schedule, steps, config.warmup_steps)

    def gaussians(self, batch: GaussianBatch) -> GaussianBatch:
        """Turn the generator's Gaussians into what the attack's loss sees; evaluation always uses the true ones."""
        return batch

    def loss_terms(
        self, gaussians: GaussianBatch, batch: ViewBatch, phase: Phase, reconstruction: ReconstructionTerms
    ) -> LossTerms:
        """Return the terms whose sum a step of ``phase`` minimises: reconstruction and ``extra_terms``."""
        del phase
        return {**reconstruction(gaussians, batch), **self.extra_terms(gaussians, batch)}

    def extra_terms(self, gaussians: GaussianBatch, batch: ViewBatch) -> LossTerms:
        """Return loss terms beside the reconstruction loss, by name; none unless a plug-in has some."""
        del gaussians, batch
        return {}

    def after_step(self, model: GaussianGenerator, step: int) -> None:
        """Do what follows an optimizer step (averaging, validation); ``step`` is 1 after the first."""

    @property
    def resumable(self) -> bool:
        """Whether a killed attack can go on from a checkpoint instead of starting over.

        What ``edit`` and ``prepare`` keep on the attack comes back by itself, as both are called again. An attack that
        keeps more from step to step (``after_step``) has to hand it over (``memory`` and ``recall``).
        """
        kind = type(self)
        return kind.after_step is Attack.after_step or kind.memory is not Attack.memory

    def memory(self) -> dict[str, torch.Tensor]:
        """Return what was gathered since ``prepare``, by name, for a checkpoint; nothing, unless overridden."""
        return {}

    def recall(self, memory: dict[str, torch.Tensor]) -> None:
        """Take back what ``memory`` returned; called after ``prepare``, before the weights are put back."""
        del memory

    def stopped(self) -> bool:
        """Return whether the attacker stops before the budget is spent; asked after every step."""
        return False

    def as_released(self, model: GaussianGenerator) -> contextlib.AbstractContextManager[object]:
        """Return a context in which ``model`` is what would be released by now, for evaluations along the way."""
        del model
        return contextlib.nullcontext()

    def finish(self, model: GaussianGenerator) -> None:
        """Turn ``model`` into what the attacker ends up with (merging, the best step); evaluated last."""

    def save(self, model: GaussianGenerator, folder: Path) -> None:
        """Write what the attacker ends up with: a diffusers folder here, an adapter in PEFT's format elsewhere."""
        # Imported here: listing attacks should not load diffusers.
        from geotrap_cli.models.loading import save_generator

        save_generator(model, folder)

    def _options(self, kind: type[Options]) -> Options:
        if not isinstance(self.config, kind):
            raise TypeError(f"{type(self).__name__} has no {kind.__name__}, so it must bring what would read it")
        return self.config
