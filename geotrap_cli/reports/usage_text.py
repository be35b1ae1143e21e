"""What a side of an attack, or the defense, used, in words for tables."""

from __future__ import annotations

from collections.abc import Sequence

from geotrap_cli.reports.costs import UsedResources

USAGE_NAMES = ("objects a second", "rendered megapixels", "MiB at most", "GPU-hours")
USAGE_COLUMNS = ("objects\na second", "rendered\nmegapixels", "MiB\nat most", "GPU-hours")
_MIB, _MEGAPIXEL = 2**20, 1e6
_UNKNOWN = "-"


def usage_cells(usage: UsedResources | None) -> list[str]:
    """Return one text for each of ``USAGE_NAMES``; a dash where nothing is known."""
    if usage is None:
        return [_UNKNOWN] * len(USAGE_NAMES)
    speed = usage.samples_per_second
    return [
        _UNKNOWN if speed is None else f"{speed:.3g}",
        f"{usage.rendered_pixels / _MEGAPIXEL:,.1f}",
        f"{usage.peak_memory / _MIB:,.0f}",
        f"{usage.gpu_hours:.3g}",
    ]


def usage_rows(sides: Sequence[UsedResources | None]) -> list[list[str]]:
    """Return a row for each of ``USAGE_NAMES``, with a column for each side; none where nothing is known of any."""
    if not any(sides):
        return []
    return [[name, *cells] for name, *cells in zip(USAGE_NAMES, *(usage_cells(side) for side in sides), strict=True)]
