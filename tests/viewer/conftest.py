"""An attack without a model, and a real one on the tiny generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from geotrap_cli.cameras import Cameras, intrinsics_from_fov, orbit_viewmats
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import ObjectRenders, ObjectScore
from geotrap_cli.evaluation.kept_gaussians import KeptGaussians
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.viewer.sources import AttackGaussians

STEPS = (0, 10, 20)


def ball(x: float, scale: float = 0.1, opacity: float = 1.0) -> list[float]:
    """One red Gaussian on the x axis."""
    return [x, 0, 0, opacity, scale, scale, scale, 1, 0, 0, 0, 1, 0, 0]


def _scores(names: Sequence[str], quality: float) -> list[ObjectScore]:
    """Scores half a decibel apart, in the order of the names."""
    return [
        ObjectScore(name, name, name.partition("/")[0], {"foreground_psnr": quality + index / 2})
        for index, name in enumerate(names)
    ]


def _cell(subject: str, start: float) -> Cell:
    evaluations = [
        CellEvaluation(
            step,
            _scores(["knife/2", "knife/1"], start + step / 10),
            None if step == 10 else _scores(["crate/1"], start),
        )
        for step in STEPS
    ]
    return Cell("lora", subject, 20, 0, evaluations, None, 1.0, 10, None, None)


def _kept(shift: float) -> KeptGaussians:
    kept = KeptGaussians()
    cameras = Cameras(orbit_viewmats(-30.0, torch.tensor([90.0])), intrinsics_from_fov(0.85, 8, 8)[None], 8, 8)
    white, alpha = torch.ones(1, 8, 8, 3), torch.ones(1, 8, 8)
    for name, steps in (("knife/2", STEPS), ("knife/1", STEPS), ("crate/1", (0, 20))):
        for step in steps:
            # As many Gaussians as there were evaluations so far, and one that nobody can see.
            balls = [ball(shift + 0.1 * index) for index in range(1 + step // 10)] + [ball(0, opacity=0.0)]
            kept.add(name, step, ObjectRenders(white, alpha, white, torch.tensor(balls), cameras))
    return kept


@pytest.fixture
def shown(tmp_path: Path) -> AttackGaussians:
    """An attack with two target objects and one source object, evaluated after 0, 10 and 20 steps."""
    pair = AttackPair(_cell("undefended", 20.0), _cell("defended", 12.0), tmp_path)
    return AttackGaussians(pair, {"undefended": _kept(0.0), "defended": _kept(0.5)})


@pytest.fixture(scope="session")
def attacked(mini_profile: Path, make_runs: Callable[..., Path]) -> Path:
    """The run of an attack of four steps, evaluated after two and four; not to be changed."""
    train = ["train", "--profile", str(mini_profile), "--set", "train.steps=2"]
    root = make_runs(train, ["attack", "--lora", "--set", "attack.keep_gaussians=2"])
    return next(root.glob("*-attack-*"))


@pytest.fixture
def find_run(attacked: Path) -> Callable[[str], Path]:
    """Finds a run beside the attack by its command."""
    return lambda command: next(attacked.parent.glob(f"*-{command}-*"))
