from __future__ import annotations

import io

import pytest
from rich.console import Console

from geotrap_cli import progress
from geotrap_cli.progress import StepProgress, shorten


def piped(width: int = 40) -> Console:
    return Console(file=io.StringIO(), width=width)


def written(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_shorten_keeps_order_and_skips_what_is_absent() -> None:
    assert shorten({"b": 0.000123456, "a": -12.3456}, ("a", "missing", "b")) == "a -12.35  b 0.0001235"


def test_piped_lines_come_at_intervals_and_at_the_end() -> None:
    console = piped()
    with StepProgress(console, "train", 7, ("total",), every=3) as bar:
        for step in range(1, 8):
            bar.update(step, {"total": float(step)})
    assert [line.split("  ")[:2] for line in written(console)] == [
        ["train 3/7", "total 3"],
        ["train 6/7", "total 6"],
        ["train 7/7", "total 7"],
    ]


def test_a_line_is_one_line_however_narrow_the_console_and_its_text_is_no_markup() -> None:
    console = piped(width=20)
    with StepProgress(console, "attack [red]x[/red]", 1, ("some_very_long_name", "another_long_name")) as bar:
        bar.update(1, {"some_very_long_name": 1.0, "another_long_name": 2.0})
    assert written(console) == ["attack [red]x[/red] 1/1  some_very_long_name 1  another_long_name 2"]


def test_remaining_time_counts_from_the_first_step_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 130.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    console = piped()
    with StepProgress(console, "train", 100, (), every=1) as bar:
        # A resumed run begins at step 40: ten steps in 30 s leave fifty steps, 150 s.
        bar.update(40, {})
        bar.update(50, {})
    assert written(console)[-1] == "train 50/100    2:30 left"


def test_quiet_says_nothing() -> None:
    console = piped()
    with StepProgress(console, "train", 2, (), every=1, quiet=True) as bar:
        bar.update(1, {})
        bar.update(2, {})
    assert written(console) == []


def test_a_terminal_gets_a_bar_that_learns_its_total() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with StepProgress(console, "render", 10, ("total",)) as bar:
        bar.update(3, {"total": 0.25}, total=4)
    text = "\n".join(written(console))
    assert "3/4" in text
    assert "total 0.25" in text


def test_a_narrow_terminal_still_shows_step_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=70, no_color=True)
    with StepProgress(console, "attack lora-undefended", 200, ("total", "alpha")) as bar:
        began = progress.time.monotonic()
        monkeypatch.setattr(progress.time, "monotonic", lambda: began)
        bar.update(40, {})
        monkeypatch.setattr(progress.time, "monotonic", lambda: began + 30)
        bar.update(50, {"total": 0.043281, "alpha": 0.029683})
    text = "\n".join(written(console))
    assert "50/200" in text
    assert "7:30 left" in text
    assert "alpha" not in text


def test_the_bar_stops_when_the_block_raises() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with pytest.raises(RuntimeError), StepProgress(console, "render", 10, ()) as bar:
        raise RuntimeError
    assert bar._bar is not None
    assert bar._bar.live.is_started is False
