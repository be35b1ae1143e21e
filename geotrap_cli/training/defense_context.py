"""What a defense works with: the generator and its undefended copy, the losses of attacker and owner, more objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from geotrap_cli.data.views import ViewBatch, ViewSampler
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.training.adapters import Adapter, configured_adapters
from geotrap_cli.training.distillation import distillation
from geotrap_cli.training.losses import ReconstructionLoss, with_total
from geotrap_cli.training.precision import autocast, resolve_precision
from geotrap_cli.training.processes import Network
from geotrap_cli.training.retention import Retention
from geotrap_cli.training.robust.adaptations import Adaptation, make_adaptation
from geotrap_cli.training.robust.places import Place, gaussians_at
from geotrap_cli.training.robust.streams import Stream, derived_seed, torch_stream
from geotrap_cli.training.terms import Term
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.training.workbench import Workbench, open_model

#: Weights that stand in for the generator's own, by parameter name.
Weights = Mapping[str, Tensor]


class DefenseContext:
    """The generator, what it is trained against, and where further objects come from.

    Args:
        bench: Data and settings.
        model: The generator, with ``requires_grad`` on what is trained.
        teacher: The undefended generator.
        trained: What is trained, by name.
        traps: The traps of the profile; None where it has none.
    """

    def __init__(
        self,
        bench: Workbench,
        model: GaussianGenerator,
        teacher: GaussianGenerator,
        trained: Mapping[str, nn.Parameter],
        traps: TrapSet | None,
    ) -> None:
        self.bench, self.model, self.trained, self.traps = bench, model, dict(trained), traps
        self.teacher = teacher.eval().requires_grad_(False)
        self.seed, self.device = bench.profile.train.seed, bench.device
        self.batch_size, self.steps = bench.profile.train.batch_size, bench.profile.train.steps
        self._samplers: dict[tuple[Stream, tuple[str, ...]], ViewSampler] = {}

    def start_training(self) -> None:
        """Make the generator ready for its steps; what is trained may be other parameters afterwards."""
        self.trained = self.bench.start_training(self.model, self.trained)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What is trained, in the order of the generator."""
        return list(self.trained.values())

    @property
    def precision(self) -> str:
        """Arithmetic of the generator on this device: ``fp32`` or ``bf16``."""
        return resolve_precision(self.bench.profile.train.precision, self.device)

    @property
    def share(self) -> float:
        """p, the share of the retention in the total loss (``train.source_ratio``)."""
        return self.bench.profile.train.source_ratio

    @cached_property
    def retention(self) -> Retention:
        """K_distill as ``[retain]`` sets it, the same for every defense."""
        return Retention(self.bench, self.teacher)

    def gaussians(self, images: Tensor, weights: Weights | None = None) -> GaussianBatch:
        """Return what the generator makes of ``[B, V, 9, H, W]``, with other ``weights`` where given."""
        if weights is None and self.bench.processes.count > 1:
            with autocast(self.bench.profile.train.precision, self.device):
                raw = self._network(images)
            return self.model.activate(raw)
        return gaussians_at(self.model, Place(images, weights or {}), self.bench.profile.train.precision, self.device)

    def taught(self, images: Tensor) -> GaussianBatch:
        """Return what the undefended generator makes of the images, as constants."""
        return self.retention.teacher(images)

    @torch.no_grad()
    def undefended(self, images: Tensor) -> GaussianBatch:
        """Return the same in one forward pass of the whole batch, never from the cache: for who watches it inside."""
        return gaussians_at(self.teacher, Place(images, {}), self.bench.profile.train.precision, self.device)

    def retained(self, source: ViewBatch) -> Term:
        """Return K_distill on source objects: weighted as ``[retain]`` says, not yet by :attr:`share`."""
        return self.retention(self.gaussians(source.images), source)

    def distance(self, student: GaussianBatch, taught: GaussianBatch) -> Tensor:
        """Return the distance of Gaussians to the undefended ones as ``[retain]`` measures it, unweighted, a scalar."""
        table = self.retention.table
        return distillation(student, taught, table.power, table.normalise, table.quaternions)

    def reconstruction(self, batch: ViewBatch, weights: Weights | None = None) -> Tensor:
        """Return L(θ; batch), what an attacker minimises: the rendering loss of ``[loss]``, a scalar."""
        return with_total(self._reconstruction(self.gaussians(batch.images, weights), batch))["total"]

    def trap_loss(self, gaussians: GaussianBatch) -> Tensor:
        """Return the aggregated traps of the profile, mean over objects."""
        assert self.traps is not None, "a defense that sets uses_traps is refused without traps"
        return self.traps.aggregate(self.traps.losses(gaussians)).mean()

    def target_draw(self, draw: int, stream: Stream, ids: Sequence[str] | None = None) -> ViewBatch:
        """Return batch ``draw`` of a defense's own draws of target objects (of ``ids``), with supervised views.

        Raises:
            UsageError: ``ids`` is empty.
        """
        return self._draw(self.bench.splits.defense_target if ids is None else ids, draw, stream)

    def source_draw(self, draw: int, stream: Stream) -> ViewBatch:
        """Return batch ``draw`` of a defense's own draws of source objects, with supervised views."""
        return self._draw(self.bench.splits.source_train, draw, stream)

    def generator(self, step: int, stream: Stream) -> torch.Generator:
        """Return random numbers of a step, on the device."""
        return torch_stream(self.seed, step, stream, self.device)

    def open(self, weights: Path) -> GaussianGenerator:
        """Return other weights of the same architecture: a folder, or the run folder of a defense.

        Raises:
            UsageError: They cannot be read, or are of another size.
        """
        released = weights / "model"
        return open_model(self.bench.profile, self.device, str(released if released.is_dir() else weights))

    def adaptation(self, kind: str, step: int) -> Adaptation:
        """Return what a simulated attacker trains, ``lora`` (as ``[attack.lora]`` is set) or ``full``, as it begins."""
        return make_adaptation(kind, self.model, self._adapters, self.generator(step, Stream.DEFENSE_ADAPTER))

    @cached_property
    def _network(self) -> Network:
        return self.bench.processes.replicate(self.model)

    @cached_property
    def _adapters(self) -> dict[str, Adapter]:
        return configured_adapters(self.model, self.bench.profile)

    @cached_property
    def _reconstruction(self) -> ReconstructionLoss:
        return self.bench.reconstruction_loss()

    def _draw(self, ids: Sequence[str], draw: int, stream: Stream) -> ViewBatch:
        key = stream, tuple(ids)
        sampler = self._samplers.get(key)
        if sampler is None:
            views = self.bench.profile.train.supervised_views
            sampler = self._samplers[key] = self.bench.sampler(ids, views, derived_seed(self.seed, stream))
        return sampler.batch(draw, self.batch_size).to(self.device)
