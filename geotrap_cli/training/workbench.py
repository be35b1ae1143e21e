"""What every command opens first: the data set of a profile, its splits and samplers, and the generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import nn

from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.held_out import judged_on_validation, set_aside
from geotrap_cli.data.loading import open_dataset
from geotrap_cli.data.read_ahead import ReadAhead
from geotrap_cli.data.splits import Splits, check_known, split_objects
from geotrap_cli.data.views import ViewSampler
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.perceptual import perceptual_term
from geotrap_cli.models.compiled import compile_blocks
from geotrap_cli.models.family import load_family, preset_settings
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.plugins import load_plugin
from geotrap_cli.profile.schema import AttackDataTable, DataTable, ModelTable, Profile
from geotrap_cli.progress import StepProgress
from geotrap_cli.training.device_options import apply_device_options
from geotrap_cli.training.losses import ReconstructionLoss
from geotrap_cli.training.processes import ALONE, Processes
from geotrap_cli.training.weights import weights_source

SOURCE_SETS = ("source_train", "source_eval")
#: Settings of a generator that say what was done to its weights, not how large it is.
WEIGHTS_SETTINGS = ("fused_head", "old_rotation")


@dataclass(frozen=True)
class Workbench:
    """A profile made concrete.

    Attributes:
        profile: What was asked for.
        device: Where tensors live.
        dataset: Objects and their posed views.
        splits: Disjoint sets of object ids.
        input_size: Side of the generator's input images, pixels.
        splat_size: Side of each view's grid of Gaussians.
        output_size: Side of rendered and supervised images, pixels.
        input_views: Views that the generator takes.
        processes: Those that share the work.
    """

    profile: Profile
    device: torch.device
    dataset: ObjectDataset
    splits: Splits
    input_size: int
    splat_size: int
    output_size: int
    input_views: int = 4
    processes: Processes = ALONE

    def sampler(self, ids: Sequence[str], supervised_views: int, seed: int, surface: bool = False) -> ViewSampler:
        """Return a stateless source of training batches over the objects ``ids``."""
        options: dict[str, Any] = {
            "input_size": self.input_size,
            "output_size": self.output_size,
            "supervised_views": supervised_views,
            "seed": seed,
            "input_views": self.input_views,
            "surface": surface,
            "surface_size": self.splat_size if surface else None,
        }
        ahead = self.profile.device.read_ahead
        if not ahead:
            return ViewSampler(self.dataset, ids, **options)
        return ReadAhead(self.dataset, ids, ahead=ahead, pinned=self.device.type == "cuda", **options)

    @property
    def seed(self) -> int:
        """Seed of the choice of held-out objects and views."""
        return self.profile.data.seed

    def draw(self, ids: Sequence[str]) -> list[str]:
        """Return at most ``eval.objects`` of ``ids``, drawn by the data seed and spread over the categories."""
        rng = np.random.default_rng(self.seed)
        category = {record.id: record.category for record in self.dataset.records}
        turn: dict[str, int] = {}
        ranked: list[tuple[int, int, str]] = []
        for index in rng.permutation(len(ids)):
            place = turn.setdefault(category[ids[index]], 0)
            turn[category[ids[index]]] += 1
            ranked.append((place, len(ranked), ids[index]))
        return [name for _, _, name in sorted(ranked)[: self.profile.eval.objects]]

    def reconstruction_loss(self) -> ReconstructionLoss:
        """Return the rendering loss of the profile's ``[loss]`` table."""
        loss = self.profile.loss
        trunk = loss.lpips_trunk if loss.perceptual == "lpips" else None
        term = perceptual_term(loss.perceptual, lpips_trunk=trunk)
        return ReconstructionLoss(
            rgb_weight=loss.rgb_weight,
            alpha_weight=loss.alpha_weight,
            perceptual=None if term is None else term.to(self.device),
            perceptual_weight=loss.perceptual_weight,
        )

    def start_training(self, model: GaussianGenerator, trained: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
        """Make ``model`` ready for its steps, in place: compile its blocks, divide its weights over the processes.

        From here to ``processes.joined`` weights may be divided, and each pass through ``model`` takes all processes.

        Args:
            model: With ``requires_grad`` on what is trained.
            trained: What is trained, by name.

        Returns:
            What is trained, by the same names: parameters that are divided are others than before.
        """
        if self.profile.device.compile:
            compile_blocks(model)
        if not self.processes.divides:
            return dict(trained)
        self.processes.divide(model)
        return {name: model.get_parameter(name) for name in trained}


def open_model(profile: Profile, device: torch.device, weights: str | None = None) -> GaussianGenerator:
    """Load the profile's generator onto ``device``, with other ``weights`` where given."""
    weights = weights or profile.model.weights
    if weights == "random":
        # Every command that asks for the profile's random weights means the same ones.
        torch.manual_seed(profile.train.seed)
    model = weights_source(profile, weights).load(device)
    _check_preset(profile, model)
    if profile.model.fuse_head:
        model.fuse_head()
    if profile.model.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    return apply_device_options(profile.device, model, device)


def _check_preset(profile: Profile, model: GaussianGenerator) -> None:
    """A diffusers folder brings its own family and size, so a table that says otherwise would not act."""
    stated, unset = profile.model, ModelTable()
    if stated.family not in (unset.family, model.family):
        what = f"model.family is {stated.family}, but {stated.weights} holds a generator of the family {model.family}"
        raise UsageError(what, "Leave model.family out: a folder brings its own")
    if stated.preset == unset.preset:
        return
    size = preset_settings(load_family(stated.family), stated.preset)
    own = {name: model.config.get(name) for name in size}
    if any(_plain(own[name]) != value for name, value in size.items() if name not in WEIGHTS_SETTINGS):
        what = f"model.preset is {stated.preset}, but {stated.weights} holds a generator of another size"
        raise UsageError(what, "Leave model.preset out: a folder brings its own")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def open_workbench(
    profile: Profile, device: torch.device, model: GaussianGenerator, processes: Processes = ALONE
) -> Workbench:
    """Open the profile's data set for ``model`` and split it.

    Raises:
        UsageError: The data set or a category is missing, or a split would be empty.
    """
    output_size = profile.data.output_size or model.output_size
    dataset = open_table(profile.data, max(output_size, model.input_size))
    benign = profile.data.benign if profile.data.benign is not None else getattr(dataset, "default_benign", ())
    splits = split_objects(dataset.records, profile.data.target, benign, profile.data.seed)
    splits = _held_out(_only_source(splits, dataset, profile.data.source), dataset, profile)
    sizes = (model.input_size, model.splat_size, output_size, model.num_views)
    return Workbench(profile, device, dataset, splits, *sizes, processes=processes)


def open_table(table: DataTable | AttackDataTable, stored_size: int) -> ObjectDataset:
    """Open the data set that a table of the profile names.

    Args:
        table: ``[data]`` or ``[attack.data]``.
        stored_size: Side of stored pictures, for a reader that makes them. One set serves as input and as supervision,
            so it has the size of the larger.

    Raises:
        UsageError: The data set is missing, or at fault.
    """
    fields = load_plugin("geotrap.datasets", table.kind).Config.model_fields
    offered = {**dict(table), "size": stored_size}
    options = {name: value for name, value in offered.items() if name in fields and value is not None}
    return open_dataset(table.kind, {**options, **table.options()})


def _only_source(splits: Splits, dataset: ObjectDataset, categories: Sequence[str]) -> Splits:
    if not categories:
        return splits
    category = {record.id: record.category for record in dataset.records}
    check_known("data.source", categories, sorted(set(category.values())))
    keep = {name: tuple(i for i in getattr(splits, name) if category[i] in categories) for name in SOURCE_SETS}
    if not all(keep.values()):
        raise UsageError("data.source leaves no source object to train or to evaluate", "Name more categories")
    return replace(splits, **keep)


def _held_out(splits: Splits, dataset: ObjectDataset, profile: Profile) -> Splits:
    """Return the splits with what is set aside, measured on what ``eval.split`` says."""
    groups = {record.id: record.group for record in dataset.records}
    splits = set_aside(splits, groups, profile.data.set_aside, profile.data.seed)
    return judged_on_validation(splits, groups, profile.data.seed) if profile.eval.split == "validation" else splits


def prepare_views(bench: Workbench, ids: Sequence[str], console: Console, quiet: bool) -> None:
    """Let a data set that renders or checks its views at first use do so now, with progress, for ``ids``."""
    prepare = getattr(bench.dataset, "prepare", None)
    if prepare is None:
        return
    wanted = sorted(set(ids))
    with (
        bench.processes.main_first(),
        StepProgress(console, "prepare views", len(wanted), (), every=50, quiet=quiet) as bar,
    ):
        prepare(
            wanted, workers=bench.profile.data.workers or None, progress=lambda done, total: bar.update(done, {}, total)
        )
