"""``geotrap export``: one object as the weights of one cell make it, as a turntable and as Gaussians."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from geotrap_cli.cell_weights import find_cell_weights, open_cell_weights
from geotrap_cli.data.views import evaluation_batches
from geotrap_cli.errors import NonFiniteError, UsageError
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED
from geotrap_cli.export_request import ExportRequest
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import weights_hash
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import suggestion
from geotrap_cli.ply import save_ply
from geotrap_cli.profile.load import load_profile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.runs import RunFolder, latest_run, open_run
from geotrap_cli.training.cross_data import open_attack_workbench
from geotrap_cli.training.defense import MODEL
from geotrap_cli.training.precision import pick_device
from geotrap_cli.training.workbench import Workbench, open_model, open_workbench
from geotrap_cli.turntable import check_video, save_gif, save_mp4, turntable


@dataclass(frozen=True)
class ExportResult:
    """What was written, or with ``--dry-run`` what would be.

    Attributes:
        run: The run that the weights are from.
        attack: The attack they went through; None: none.
        model: Whose weights.
        object: The object.
        files: What lies where, by format.
        written: Whether the files are there.
    """

    run: Path
    attack: str | None
    model: str
    object: str
    files: Mapping[str, Path]
    written: bool = True

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        files = {name: str(path) for name, path in self.files.items()}
        facts = {"run": str(self.run), "attack": self.attack, "model": self.model, "object": self.object}
        return {**facts, "files": files, "written": self.written}

    def render(self, console: Console) -> None:
        """Print what is shown, and where it is."""
        state = "before any attack" if self.attack is None else f"after the attack {self.attack}"
        console.print(f"{self.object} by the {self.model} weights of {self.run}, {state}", soft_wrap=True)
        for name, path in self.files.items():
            console.print(f"{name}: {path}" if self.written else f"{name}: would be {path}", soft_wrap=True)


def run_export(options: CommonOptions, request: ExportRequest, console: Console) -> ExportResult:
    """Export one object of one cell.

    Raises:
        UsageError: There is no such run, attack or object, the run kept no weights of that attack, the weights on this
            machine are others than those of the run, or an encoder is missing.
        NonFiniteError: The weights make NaN or infinite Gaussians of the object.
    """
    if "mp4" in request.formats:
        check_video()
    run = _find_run(options, request)
    train_run = run if run.command == "train" else open_run(Path(run.summary()["train_run"]))
    profile = load_profile(run.profile_path, env={}, complete=False).profile
    device = pick_device(options.device)
    undefended = open_model(profile, torch.device("cpu"))
    open_bench = open_attack_workbench if run.command == "attack" else open_workbench
    bench = open_bench(profile, device, undefended)
    name = _find_object(bench, request.object)
    folder = None if request.attack is None else find_cell_weights(run.path, request.attack, request.model)
    stem = re.sub(r"[^\w.-]+", "_", f"{run.name}-{request.attack or 'unattacked'}-{request.model}-{name}")
    files = {kind: request.out / f"{stem}.{kind}" for kind in request.formats}
    result = ExportResult(run.path, request.attack, request.model, name, files, written=not options.dry_run)
    if options.dry_run:
        return result
    if not options.quiet:
        console.print(f"reconstructing {name}", highlight=False, soft_wrap=True)
    model = undefended if request.model == UNDEFENDED else _defended(profile, train_run)
    _check_weights(model, request.model, train_run)
    if folder is not None:
        model = open_cell_weights(folder, model)
    _write(_reconstruct(bench, model.to(device).eval(), name), request, files)
    return result


def _find_run(options: CommonOptions, request: ExportRequest) -> RunFolder:
    command = "train" if request.attack is None else "attack"
    run = open_run(options.run) if options.run else latest_run(command, options.runs_root)
    if run.command not in ("train", "attack") or (request.attack and run.command == "train"):
        what = f"{run.path} is a run of `geotrap {run.command}`"
        raise UsageError(what, hint=f"name a run of `geotrap {command}`")
    if run.status != "finished":
        raise UsageError(f"{run.path} is {run.status}", hint=f"finish it with `geotrap {run.command} --resume`")
    methods = run.summary().get("methods", [])
    if request.attack and request.attack not in methods:
        raise UsageError(f"{run.path} has no attack {request.attack!r}", hint=suggestion(request.attack, methods))
    return run


def _find_object(bench: Workbench, name: str | None) -> str:
    """Return the object by its id; None: the first target object that attacks are measured on."""
    if name is None:
        return bench.draw(bench.splits.eval_target)[0]
    if name not in {record.id for record in bench.dataset.records}:
        measured = bench.draw(bench.splits.eval_target)
        # A data set may have thousands.
        raise UsageError(f"the data set has no object {name!r}", hint=suggestion(name, measured[:10]))
    return name


def _defended(profile: Profile, train_run: RunFolder) -> GaussianGenerator:
    return open_model(profile, torch.device("cpu"), str(train_run.path / MODEL))


def _check_weights(model: GaussianGenerator, subject: str, train_run: RunFolder) -> None:
    key = {UNDEFENDED: "weights", DEFENDED: "defended"}[subject]
    if weights_hash(model) != train_run.manifest.get(key):
        what = f"the {subject} weights are not those of {train_run.path}"
        raise UsageError(what, hint="bring them back, or train again with geotrap train")


def _reconstruct(bench: Workbench, model: GaussianGenerator, name: str) -> GaussianBatch:
    sizes = (bench.input_size, bench.output_size)
    (batch,) = evaluation_batches(bench.dataset, [name], *sizes, 1, 1, bench.seed, bench.input_views)
    with torch.no_grad():
        gaussians = model.forward_gaussians(batch.to(bench.device).images)
    if not bool(gaussians.activated.isfinite().all()):
        raise NonFiniteError(f"the weights make NaN or infinite Gaussians of {name}", hint="export another object")
    return gaussians


def _write(gaussians: GaussianBatch, request: ExportRequest, files: Mapping[str, Path]) -> None:
    request.out.mkdir(parents=True, exist_ok=True)
    if request.turns:
        frames = turntable(gaussians, request.frames, request.size, request.elevation)
        for kind, save in (("gif", save_gif), ("mp4", save_mp4)):
            if kind in files:
                save(frames, files[kind])
    if "ply" in files:
        save_ply(files["ply"], gaussians)
