"""Attack runs without a model: cells whose quality follows a given curve, on disk as `geotrap attack` leaves them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from geotrap_cli.evaluation.cells import Cell, CellEvaluation, write_cell
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.runs import create_run

HEALTHY = AttackHealth(zero_gradient_share=0.01, saturated_share=0.1, nonfinite=0, loss_decreased=True)
WHITE = 15.0
OBJECTS = [f"mug/{index}" for index in range(6)]
PROFILE = "[eval]\nbootstrap = 50\n"
TRAIN_RUN = "runs/train"
WEIGHTS = {"undefended": "u" * 8, "defended": "d" * 8}


def _scores(quality: float, ids: Sequence[str] = OBJECTS) -> list[ObjectScore]:
    """Objects around a mean quality, the same spread for every call; the spread of the floor is another."""
    spread = np.linspace(-1.0, 1.0, len(ids)) if len(ids) > 1 else np.zeros(1)
    return [
        ObjectScore(
            id=name,
            group=name,
            category=name.partition("/")[0],
            metrics={
                "foreground_psnr": quality + offset,
                "psnr": quality + offset + 8,
                "ssim": min(1.0, (quality + offset) / 30),
                "alpha_iou": 0.8,
                "white_foreground_psnr": WHITE + offset / 2,
            },
        )
        for name, offset in zip(ids, spread.tolist(), strict=True)
    ]


def _make_cell(
    subject: str, curve: Sequence[float], method: str = "lora", source: float | None = 22.0, **changes: Any
) -> Cell:
    """A cell with one evaluation every 25 steps; source objects lose 1 dB under the attack."""
    last = 25 * (len(curve) - 1)
    others = [f"house/{index}" for index in range(4)]
    evaluations = [
        CellEvaluation(
            step=25 * index,
            target=_scores(quality, changes.get("ids", OBJECTS)),
            source=None if source is None or index not in (0, len(curve) - 1) else _scores(source - index / 4, others),
        )
        for index, quality in enumerate(curve)
    ]
    cell = Cell(method, subject, last, 0, evaluations, HEALTHY, 12.5, 350_000, 0.04, 0.01)
    return dataclasses.replace(cell, **{name: value for name, value in changes.items() if name != "ids"})


def _make_pair(
    undefended: Sequence[float], defended: Sequence[float], method: str = "lora", **changes: Any
) -> list[Cell]:
    """Both cells of one attack."""
    return [
        _make_cell("undefended", undefended, method, **changes),
        _make_cell("defended", defended, method, **changes),
    ]


def _save_pictures(cells: Sequence[Cell], folder: Path) -> None:
    """Grey pictures [2, 16, 16, 3] of two objects, darker where quality is lower."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: torch.full((2, 16, 16, 3), 200, dtype=torch.uint8) for name in OBJECTS[:2]}, folder / "truth.safetensors"
    )
    for cell in cells:
        shades = {
            step: 8 * int(cell.evaluations[i].target[0].metrics["foreground_psnr"])
            for i, step in ((0, 0), (-1, cell.steps))
        }
        tensors = {
            f"{name}@{step}": torch.full((2, 16, 16, 3), shade, dtype=torch.uint8)
            for name in OBJECTS[:2]
            for step, shade in shades.items()
        }
        save_file(tensors, folder / f"{cell.method}-{cell.subject}.safetensors")


class Runs:
    """A folder of runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def attack(self, cells: Sequence[Cell], *, finish: bool = True, draw: bool = False, **summary: Any) -> Path:
        """A run of `geotrap attack` that left these cells."""
        run = create_run("attack", "sample", summary.pop("profile", PROFILE), self.root)
        try:
            with run:
                for cell in cells:
                    write_cell(run.path / "cells", cell)
                if draw:
                    _save_pictures(cells, run.path / "renders")
                if not finish:
                    raise KeyboardInterrupt
                methods = list(dict.fromkeys(cell.method for cell in cells))
                run.finish({"train_run": TRAIN_RUN, "methods": methods, "weights": WEIGHTS} | summary)
        except KeyboardInterrupt:
            pass
        return run.path


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., list[Cell]]:
    return _make_pair


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, to be asked what they show."""
    figures: list[Figure] = []
    save = Figure.savefig

    def keep(self: Figure, *args: Any, **options: Any) -> None:
        figures.append(self)
        save(self, *args, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures
