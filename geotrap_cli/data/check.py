"""``geotrap data check``: is this data set what its reader takes it for?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geotrap_cli.data.axes_sheet import write_axes_sheet
from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.inspection import ObjectReport, inspect_objects
from geotrap_cli.data.loading import open_dataset
from geotrap_cli.data.recognition import recognise
from geotrap_cli.errors import UsageError
from geotrap_cli.progress import StepProgress

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_FAULTS = 20


@dataclass(frozen=True)
class CheckResult:
    """What was found in a data set.

    Attributes:
        root: its folder.
        kind: key of its reader.
        reports: one an object.
        sheet: the contact sheet; None where none was drawn.
    """

    root: Path
    kind: str
    reports: Sequence[ObjectReport]
    sheet: Path | None

    @cached_property
    def at_fault(self) -> list[ObjectReport]:
        """The objects with a problem."""
        return [report for report in self.reports if report.problem]

    @property
    def failure(self) -> UsageError | None:
        """The error that the command ends with; None where all is well."""
        if not self.at_fault:
            return None
        what = f"{self.root}: {len(self.at_fault)} of {len(self.reports)} objects are at fault"
        return UsageError(what, hint="Restore their files, or take the objects out of the folder")

    def payload(self) -> dict[str, Any]:
        """Return every measure of every object; what is infinite or not known is null."""
        objects = [{name: _plain(value) for name, value in asdict(report).items()} for report in self.reports]
        return {
            "root": str(self.root),
            "format": self.kind,
            "at_fault": len(self.at_fault),
            "sheet": None if self.sheet is None else str(self.sheet),
            "objects": objects,
        }

    def render(self, console: Console) -> None:
        """Print the extremes over all objects, then those at fault."""
        from rich.table import Table

        categories = len({report.category for report in self.reports})
        console.print(
            f"{self.kind}: {len(self.reports)} objects in {categories} categories at {self.root}", soft_wrap=True
        )
        facts = Table.grid(padding=(0, 2, 0, 0))
        for name, value in self._facts():
            facts.add_row(name, value)
        console.print(facts)
        for report in self.at_fault[:SHOWN_FAULTS]:
            console.print(f"{report.id}: {report.problem}", style="red", soft_wrap=True)
        if len(self.at_fault) > SHOWN_FAULTS:
            console.print(f"and {len(self.at_fault) - SHOWN_FAULTS} more; --json lists all", style="red")
        if self.sheet is not None:
            console.print(f"contact sheet with the world's axes (y up, green): {self.sheet}", soft_wrap=True)

    def _facts(self) -> list[tuple[str, str]]:
        """Name and range of each measure, over the objects of which it is known."""
        views = [report.views for report in self.reports if report.views]
        left_out = sum(report.left_out > 0 for report in self.reports)
        rotations, axes = self._known("rotation_error"), self._known("axis_offset")
        upright, hulls = self._known("upright"), self._known("hull_share")
        rows = [("views", _span(views, "d") + (f" (some left out in {left_out} objects)" if left_out else ""))]
        rows += [("rotations", f"orthonormal with determinant +1 to {max(rotations):.1e}")] * bool(rotations)
        rows += [("optical axes", f"pass the origin within {max(axes):.2g} camera distances")] * bool(axes)
        rows += [("upright cameras", f"{min(upright):.0%} of those of an object, or more")] * bool(upright)
        rows += [("silhouettes", f"{min(hulls):.0%} of the rays of each view, or more, meet the visual hull")] * bool(
            hulls
        )
        for name, attribute, unit in (("camera distance", "distances", ""), ("field of view", "fov_deg", " degrees")):
            values = [end for report in self.reports for end in getattr(report, attribute) or ()]
            rows += [(name, _span(values, ".4g") + unit)] * bool(values)
        return rows

    def _known(self, name: str) -> list[float]:
        return [value for report in self.reports if (value := getattr(report, name)) is not None]


def run_check(
    root: Path,
    kind: str | None,
    options: Mapping[str, Any],
    sheet: Path | None,
    rows: int,
    console: Console,
    quiet: bool = False,
) -> CheckResult:
    """Check every object of a data set and draw some of them.

    Args:
        root: its folder or archive.
        kind: key of its reader; None: recognised by its layout.
        options: further options of the reader.
        sheet: PNG to draw; None for none.
        rows: objects in it: those at fault first, then some of each category.
        console: where progress goes.
        quiet: no progress.

    Raises:
        UsageError: the data set cannot be opened at all.
    """
    kind = kind or recognise(root)
    failures: dict[str, UsageError] = {}
    dataset = open_dataset(kind, {**options, "root": root}, failures)
    count = len({record.id for record in dataset.records} | failures.keys())
    with StepProgress(console, "check objects", count, (), every=50, quiet=quiet) as bar:
        reports = inspect_objects(dataset, failures, lambda done, total: bar.update(done, {}, total))
    if sheet is not None:
        write_axes_sheet(dataset, _drawn(dataset, reports, rows), sheet)
    return CheckResult(root, kind, reports, sheet)


def _drawn(dataset: ObjectDataset, reports: Sequence[ObjectReport], rows: int) -> list[ObjectReport]:
    """Objects at fault first, then one of each category in turn."""
    known = {record.id for record in dataset.records}
    turn: dict[str, int] = {}
    ranked = []
    for report in reports:
        place = turn.setdefault(report.category, 0)
        turn[report.category] += 1
        ranked.append((not report.problem, place, report.id, report))
    return [report for *_, id, report in sorted(ranked, key=lambda item: item[:3]) if id in known][:rows]


def _span(values: Sequence[float], form: str) -> str:
    if not values:
        return "none"
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _plain(value: Any) -> Any:
    """A value that JSON has."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
