"""Cells that another run beside this one has measured already: found by everything they depend on, and taken over."""

from __future__ import annotations

import functools
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geotrap_cli.atomic import atomic_path
from geotrap_cli.digests import feed_file
from geotrap_cli.evaluation.cells import DEFENDED, DISTILL, NOISE, UNDEFENDED, Cell
from geotrap_cli.evaluation.kept_gaussians import kept_file
from geotrap_cli.evaluation.perceptual import LpipsTerm
from geotrap_cli.evaluation.store import ResultsStore, StoredCell, content_key
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.training.attack_plan import PlannedAttack
from geotrap_cli.training.code_version import attack_code
from geotrap_cli.training.workbench import Workbench

RENDERS = "renders"


@dataclass
class CellStore:
    """The store of a folder of runs, as one attack run uses it.

    Attributes:
        run: The attack run.
        bench: Data and settings.
        weights: Gives the content hash of a subject's weights.
        train_run: Folder of the run that made the defended weights.
        scorer: LPIPS, where it can be computed.
        reuse: Whether cells that are there are taken over; new ones are kept either way.
        reused: Runs that cells were taken from, by the cell's name.
    """

    run: RunFolder
    bench: Workbench
    weights: Callable[[str], str]
    train_run: str
    scorer: LpipsTerm | None
    reuse: bool = True
    reused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = ResultsStore(self.run.path.parent)
        self.fingerprint = self.bench.dataset.fingerprint()

    def take(self, planned: PlannedAttack, subject: str) -> Cell | None:
        """Return a cell that was measured already, with what it shows in this run; None where there is none.

        Raises:
            UsageError: The store is broken.
        """
        if not self.reuse:
            return None
        found = self.store.find(self.key(planned, subject))
        if found is None:
            return None
        name = f"{planned.method}-{subject}"
        for file in (f"{name}.safetensors", "truth.safetensors"):
            _copy(Path(found.run) / RENDERS / file, self.run.path / RENDERS / file)
        _copy(kept_file(Path(found.run), planned.method, subject), kept_file(self.run.path, planned.method, subject))
        self.reused[name] = found.run
        self.run.record(reused=self.reused)
        return found.cell

    def keep(self, planned: PlannedAttack, cell: Cell) -> Cell:
        """Add a cell that was measured and return it with the digest of its settings."""
        inputs = self._inputs(planned, cell.subject)
        cell = replace(cell, settings=self.settings(planned), batch_size=self.bench.profile.attack.batch_size)
        manifest = self.run.manifest
        self.store.append(
            StoredCell(
                key=content_key(inputs),
                inputs=inputs,
                weights=self.weights(cell.subject),
                undefended=self.weights(UNDEFENDED),
                run=str(self.run.path.resolve()),
                train_run=self.train_run,
                created=str(manifest["created"]),
                profile=self.run.profile_path.read_text(encoding="utf-8"),
                profile_name=self.run.profile_name,
                cell=cell,
                defended=self.weights(DEFENDED),
            )
        )
        return cell

    def key(self, planned: PlannedAttack, subject: str) -> str:
        """Return the hash of everything that the scores depend on."""
        return content_key(self._inputs(planned, subject))

    def settings(self, planned: PlannedAttack) -> str:
        """Return the digest of what the scores depend on besides weights, seed of the attack and code."""
        return content_key(self._settings(planned))[:16]

    def _inputs(self, planned: PlannedAttack, subject: str) -> dict[str, Any]:
        # Made to be compared with one defense: taken over by another, they would be lost to the first.
        beside = {"defended": self.weights(DEFENDED)} if subject in (DISTILL, NOISE) else {}
        return {
            "subject": subject,
            "weights": self.weights(subject),
            "undefended": self.weights(UNDEFENDED),
            **beside,
            "seed": self.bench.profile.attack.seed,
            "code": attack_code(self.bench.profile, type(planned.attack)),
            **self._settings(planned),
        }

    def _settings(self, planned: PlannedAttack) -> dict[str, Any]:
        bench, profile = self.bench, self.bench.profile
        budget = {"steps", "batch_size", "supervised_views", "evaluations"}
        return {
            "attack": {
                "key": planned.family,
                "variant": planned.method,
                "config": planned.attack.config.model_dump(mode="json"),
                "files": {name: content_digest(path) for name, path in planned.attack.config if isinstance(path, Path)},
            },
            "budget": profile.attack.model_dump(mode="json", include=budget),
            "data": {
                "fingerprint": self.fingerprint,
                "seed": bench.seed,
                "splits": bench.splits.as_dict(),
                "measured": [bench.draw(bench.splits.eval_target), bench.draw(bench.splits.source_eval)],
                "sizes": [bench.input_size, bench.splat_size, bench.output_size, bench.input_views],
            },
            "measures": {
                "views": profile.eval.views,
                "scorer": None if self.scorer is None else [self.scorer.name, self.scorer.digest],
                "loss": profile.loss.model_dump(mode="json", exclude={"lpips_trunk"}),
                "precision": profile.train.precision,
                "device": profile.device.model_dump(mode="json", exclude={"read_ahead"}),
                "fuse_head": profile.model.fuse_head,
            },
        }


@functools.cache
def content_digest(path: Path) -> str | None:
    """Return the digest of a file, or of all files of a folder with their names; None for what does not exist."""
    if not path.exists():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        # The size keeps a file's end apart from the next one's name.
        digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        feed_file(digest, file)
    return digest.hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Copy a file that is there; a run that is gone, or on another machine, leaves no pictures."""
    if source.is_file() and not target.exists():
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
