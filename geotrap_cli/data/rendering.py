"""``geotrap data render``: meshes become a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geotrap_cli.data.mesh_files import MeshFile
from geotrap_cli.data.mesh_views import MeshViews, Outcome
from geotrap_cli.errors import UsageError
from geotrap_cli.progress import StepProgress

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class RenderResult:
    """What became of the meshes.

    Attributes:
        out: the folder of the views.
        outcomes: one a mesh, sorted by id.
        written: false for a dry run.
    """

    out: Path
    outcomes: Sequence[Outcome]
    written: bool = True

    @cached_property
    def failed(self) -> list[Outcome]:
        """The meshes that could not be rendered."""
        return [outcome for outcome in self.outcomes if outcome.state == "failed"]

    @property
    def failure(self) -> UsageError | None:
        """The error that the command ends with; None where every mesh has its views."""
        if not self.failed:
            return None
        what = f"{len(self.failed)} of {len(self.outcomes)} meshes could not be rendered"
        return UsageError(what, hint="Repair or leave out these; the others are not rendered again")

    def payload(self) -> dict[str, Any]:
        """Return the outcome of each mesh."""
        objects = [
            {"id": one.mesh.id, "mesh": str(one.mesh.path), "state": one.state, "problem": one.problem}
            for one in self.outcomes
        ]
        return {"out": str(self.out), "written": self.written, "objects": objects}

    def render(self, console: Console) -> None:
        """Print counts, what failed, and what to do next."""
        counts = {state: sum(one.state == state for one in self.outcomes) for state in ("rendered", "kept")}
        for one in self.failed:
            console.print(f"{one.mesh.id}: {one.problem}", style="red", soft_wrap=True)
        if not self.written:
            text = f"would render {counts['rendered']} objects to {self.out} and keep {counts['kept']}"
            console.print(text, soft_wrap=True)
            return
        text = f"rendered {counts['rendered']} objects to {self.out}, kept {counts['kept']}"
        console.print(f"{text}; look at them with `geotrap data check {self.out}`", soft_wrap=True)


def run_render(
    views: MeshViews, meshes: Sequence[MeshFile], workers: int | None, console: Console, quiet: bool = False
) -> RenderResult:
    """Render the views of ``meshes`` that are missing or out of date.

    Args:
        views: the folder and how pictures are made.
        meshes: what is rendered.
        workers: number of processes (default: one a core).
        console: where progress goes.
        quiet: no progress.

    Raises:
        OSError: the folder cannot be written.
    """
    outcomes = []
    with StepProgress(console, "render objects", len(meshes), (), every=10, quiet=quiet) as bar:
        for done, outcome in enumerate(views.render(meshes, workers), start=1):
            outcomes.append(outcome)
            bar.update(done, {}, len(meshes))
    return RenderResult(views.out, sorted(outcomes, key=lambda one: one.mesh.id))


def plan_render(views: MeshViews, meshes: Sequence[MeshFile]) -> RenderResult:
    """Say what :func:`run_render` would do, and write nothing.

    Raises:
        UsageError: a mesh, or a file that it refers to, cannot be read.
    """
    outcomes = [Outcome(mesh, "kept" if views.is_up_to_date(mesh) else "rendered") for mesh in meshes]
    return RenderResult(views.out, outcomes, written=False)
