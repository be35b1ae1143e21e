"""Samples of both sides in equal numbers, round by round, until their number or their precision is enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console

from geotrap_cli.atomic import atomic_path
from geotrap_cli.data.stream import SampleStream
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.progress import StepProgress
from geotrap_cli.runs import RunFolder
from geotrap_cli.sensitivity.gradients import UnitParameters
from geotrap_cli.sensitivity.plan import Plan
from geotrap_cli.sensitivity.samples import SampleNorms, draw_objects, measure_samples, no_samples
from geotrap_cli.sensitivity.statistics import ratio_intervals
from geotrap_cli.sensitivity.stopping import Precision, widest_unit
from geotrap_cli.tensor_files import read_tensors, write_tensors
from geotrap_cli.training.workbench import Workbench, prepare_views

NORMS = "norms.safetensors"
"""Per side and loss the norms of all samples, float64 [samples, U], units in the order of the network."""


@dataclass(frozen=True)
class Measured:
    """Norms of both sides, equally many samples of each."""

    target: SampleNorms
    source: SampleNorms
    precision: Precision


@dataclass
class Meter:
    """Measures the samples of both sides and keeps their norms in the run folder.

    Attributes:
        bench: Data and settings.
        model: The generator.
        units: What to take norms of.
        plan: What is differentiated, and when to stop.
        run: Where norms are kept.
        console: For progress and messages.
        quiet: Print nothing.
    """

    bench: Workbench
    model: GaussianGenerator
    units: UnitParameters
    plan: Plan
    run: RunFolder
    console: Console
    quiet: bool

    def measure(self) -> Measured:
        """Measure until enough, from the norms that an interrupted run kept.

        Raises:
            NonFiniteError: A gradient is NaN or infinite.
        """
        streams = self._streams()
        groups = {record.id: record.group for record in self.bench.dataset.records}
        sides = self._kept(streams, groups)
        state = self._first_look(streams)
        while True:
            sides = {side: self._up_to(state.samples, side, sides[side], streams[side], groups) for side in sides}
            write_norms(self.run.path / NORMS, sides)
            looked = {side: norms.first(state.samples) for side, norms in sides.items()}
            state = self._look(state, looked["target"], looked["source"])
            if state.done:
                objects = {side: streams[side].ids_at(range(state.samples)) for side in streams}
                self.run.record(objects=objects, precision=state.record())
                return Measured(looked["target"], looked["source"], state)
            state = replace(state, samples=state.next_samples)

    def _streams(self) -> dict[str, SampleStream]:
        bench, seed = self.bench, self.bench.profile.train.seed
        views = bench.profile.attack.supervised_views if self.plan.request.mode == "attack" else 0
        pools = {"target": bench.splits.defense_target, "source": bench.splits.source_train}
        return {
            side: SampleStream(
                bench.dataset,
                draw_objects(bench.dataset.records, pool, seed),
                bench.input_size,
                bench.output_size,
                views,
                seed,
                bench.input_views,
            )
            for side, pool in pools.items()
        }

    def _first_look(self, streams: Mapping[str, SampleStream]) -> Precision:
        """Without a wanted precision every object is measured once at most; with one, its other views count too."""
        request = self.plan.request
        sizes = [len(s.ids) if request.target_ci is None else len(s) for s in streams.values()]
        count = min(request.samples, *sizes)
        if count < request.samples and not self.quiet:
            text = f"{count} samples of each side instead of {request.samples}: the splits hold no more"
            self.console.print(text, soft_wrap=True)
        return Precision(request.target_ci, float("inf"), "", count, min(sizes), 0)

    def _up_to(
        self, count: int, side: str, done: SampleNorms, stream: SampleStream, groups: Mapping[str, str]
    ) -> SampleNorms:
        places = range(len(done), count)
        if not places:
            return done
        prepare_views(self.bench, stream.ids_at(places), self.console, self.quiet)
        seen = iter(places)
        with StepProgress(self.console, f"gradients, {side}", count, (), every=8, quiet=self.quiet) as bar:
            new = measure_samples(
                self.model,
                self.units,
                stream,
                places,
                self.plan.measure(self.bench),
                groups,
                lambda: bar.update(next(seen) + 1, {}),
            )
        return done.followed_by(new)

    def _look(self, state: Precision, target: SampleNorms, source: SampleNorms) -> Precision:
        profile, losses = self.bench.profile, self.plan.losses
        above, below = ([side.norms[name] for name in losses] for side in (target, source))
        ratios = ratio_intervals(
            above, below, target.groups, source.groups, seed=profile.train.seed, resamples=profile.eval.bootstrap
        )
        widest, unit = widest_unit(self.units.names, ratios)
        return replace(state, widest=widest, unit=unit, looks=state.looks + 1)

    def _kept(self, streams: Mapping[str, SampleStream], groups: Mapping[str, str]) -> dict[str, SampleNorms]:
        path = self.run.path / NORMS
        if not path.is_file():
            return {side: no_samples(self.plan.losses, len(self.units.names)) for side in streams}
        tensors = read_tensors(path)
        kept = {}
        for side, stream in streams.items():
            norms = {name: tensors[f"{side}.{name}"].numpy() for name in self.plan.losses}
            ids = stream.ids_at(range(len(norms[self.plan.losses[0]])))
            kept[side] = SampleNorms(tuple(groups[id] for id in ids), norms)
        return kept


def write_norms(path: Path, sides: Mapping[str, SampleNorms]) -> None:
    """Write the norms of all samples, atomically."""
    tensors = {
        f"{side}.{name}": torch.from_numpy(rows) for side, norms in sides.items() for name, rows in norms.norms.items()
    }
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors)
