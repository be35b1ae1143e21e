"""Line charts as inline SVG that take their colours from the page, so that they follow a light or a dark theme."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup, escape

WIDTH, HEIGHT = 420, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 14, 38

Axis = Literal["linear", "log"]


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Attributes:
        name: What it is called; also its class in the style sheet.
        steps: Where it was measured.
        values: What was measured; what is not finite leaves a gap.
        low: Lower end of its band; None: no band.
        high: Upper end.
    """

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None


@dataclass(frozen=True)
class Chart:
    """Shares over steps.

    Attributes:
        title: What a screen reader is told.
        lines: The curves.
        guides: Horizontal lines by name.
        axis: ``log`` is linear up to the first measurement, so that step 0 stays, and logarithmic from there on.
        across: Name of the horizontal axis.
        stairs: Whether a value holds until the next one.
    """

    title: str
    lines: Sequence[Line]
    guides: dict[str, float]
    axis: Axis = "linear"
    across: str = "attack steps"
    stairs: bool = False

    def svg(self) -> Markup:
        """Return the picture."""
        curves = [part for line in self.lines for part in self._line(line)]
        parts = [*self._grid(), *curves, *self._names()]
        head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(self.title)}">'
        return Markup(head + "".join(parts) + "</svg>")

    @property
    def _range(self) -> tuple[float, float]:
        values = [value for line in self.lines for value in line.values if math.isfinite(value)]
        low, high = min([*values, *self.guides.values(), 0.0]), max([*values, *self.guides.values(), 1.0])
        return low - 0.04 * (high - low), high + 0.04 * (high - low)

    @property
    def _steps(self) -> list[float]:
        return sorted({step for line in self.lines for step in line.steps}) or [0.0, 1.0]

    def _x(self, step: float) -> float:
        steps = self._steps
        first = next((each for each in steps if each > 0), 1.0)
        start, end = self._place(steps[0], first), self._place(steps[-1], first)
        share = (self._place(step, first) - start) / (end - start) if end > start else 0.5
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def _place(self, step: float, first: float) -> float:
        if self.axis == "linear":
            return step
        return 0.4 * step / first if step <= first else 0.4 + math.log10(step / first)

    def _y(self, value: float) -> float:
        low, high = self._range
        return _TOP + (high - value) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def _grid(self) -> Iterator[str]:
        low, high = self._range
        for tick in _ticks(low, high):
            y = self._y(tick)
            yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'
            yield f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.0%}</text>'
        for step in self._step_ticks():
            place = f'x="{self._x(step):.1f}" y="{HEIGHT - _BOTTOM + 16}"'
            yield f'<text class="tick" {place} text-anchor="middle">{step:g}</text>'
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        yield f'<text class="tick" x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{escape(self.across)}</text>'
        for value in self.guides.values():
            y = self._y(value)
            yield f'<path class="guide" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>'

    def _names(self) -> Iterator[str]:
        """Name the guides last, so that the names stand above the curves."""
        for name, value in self.guides.items():
            # One that is close below the ceiling is named under its line.
            y = self._y(value) + (13 if 0.8 < value < 1 else -4)
            yield f'<text class="tick" x="{_LEFT + 4}" y="{y:.1f}">{escape(name)}</text>'

    def _step_ticks(self) -> list[float]:
        """Return measured steps that are far enough apart to be read."""
        chosen: list[float] = []
        for step in self._steps:
            if not chosen or self._x(step) - self._x(chosen[-1]) >= 34:
                chosen.append(step)
        return chosen

    def _line(self, line: Line) -> Iterator[str]:
        points = list(zip(line.steps, line.values, strict=True))
        if line.low is not None and line.high is not None and None not in (*line.low, *line.high):
            yield self._band(line)
        path, open_run = "", False
        for step, value in points:
            if not math.isfinite(value):
                open_run = False
                continue
            x, y = self._x(step), self._y(value)
            path += (f"H{x:.1f}V{y:.1f}" if self.stairs else f"L{x:.1f} {y:.1f}") if open_run else f"M{x:.1f} {y:.1f}"
            open_run = True
        yield f'<path class="line {escape(line.name)}" d="{path}"/>' if path else ""
        for step, value in points:
            if math.isfinite(value):
                told = f"<title>{escape(line.name)}, {step:g}: {value:.0%}</title>"
                place = f'cx="{self._x(step):.1f}" cy="{self._y(value):.1f}"'
                yield f'<circle class="dot {escape(line.name)}" {place} r="3.2">{told}</circle>'

    def _band(self, line: Line) -> str:
        ends = zip(line.steps, line.low or (), line.high or (), strict=True)
        known = [(step, low, high) for step, low, high in ends if low is not None and high is not None]
        there = [f"{self._x(step):.1f} {self._y(high):.1f}" for step, _, high in known]
        back = [f"{self._x(step):.1f} {self._y(low):.1f}" for step, low, _ in reversed(known)]
        return f'<path class="band {escape(line.name)}" d="M{"L".join([*there, *back])}Z"/>'


def _ticks(low: float, high: float) -> list[float]:
    step = next((each for each in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 50, 100) if (high - low) / each <= 6), high - low)
    return [step * index for index in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
