"""Defenses whose worth is known beforehand, attacked and judged by the program from end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geotrap_cli.__main__ import main
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator, save_generator, weights_hash

#: Target objects that fill the picture, so that even a tiny generator learns much of them in a few steps.
EASY = ("--set", "data.target=crate,dice", "--set", "data.source=mug,book", "--set", "eval.objects=2")
BUDGET = ("--set", "attack.steps=30", "--set", "attack.full.lr=3e-3", "--set", "attack.evaluations=1")
Judge = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def faint(make_micro: Callable[..., LGM], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that knows nothing and shows next to nothing."""
    model = make_micro()
    with torch.no_grad():
        model.conv.bias[3] -= 5.0
    folder = tmp_path_factory.mktemp("faint") / "weights"
    save_generator(model, folder)
    return folder


@pytest.fixture(scope="module")
def train_run(faint: Path, mini_profile: Path, make_runs: Callable[..., Path]) -> Path:
    """A run of ``geotrap train``, whose released weights the tests replace."""
    steps = ("--set", "train.steps=1", "--set", f"model.weights={faint}")
    return next(make_runs(["train", "--profile", str(mini_profile), *EASY, *steps]).iterdir())


@pytest.fixture
def judge(faint: Path, train_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Judge:
    """Puts weights into the defended slot of a train run, attacks them, and returns the comparison."""

    def run(change: Callable[[LGM], None], *attack: str) -> dict[str, Any]:
        released = _release(train_run, tmp_path / "released", faint, change)
        runs = ("--runs", str(tmp_path / "runs"))
        assert main(["attack", *BUDGET, *attack, "--quiet", "--no-controls", "--run", str(released), *runs]) == 0
        capsys.readouterr()
        assert main(["compare", "--json", *runs]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def _release(train_run: Path, target: Path, weights: Path, change: Callable[[LGM], None]) -> Path:
    """Copy a train run with other released weights: the undefended ones, changed."""
    shutil.copytree(train_run, target)
    model = load_generator("nano", str(weights))
    with torch.no_grad():
        change(model)
    save_generator(model, target / "model")
    manifest = json.loads((target / "manifest.json").read_text())
    manifest["defended"] = weights_hash(model)
    (target / "manifest.json").write_text(json.dumps(manifest))
    return target


def leave(model: LGM) -> None:
    """Keep the undefended weights."""


def blank(model: LGM) -> None:
    """Make every Gaussian of every object invisible, far into the flat end of the sigmoid."""
    model.conv.bias[3] -= 120.0


def rescale(model: LGM) -> None:
    """Multiply what a normalisation divides again: the same images, and steps a thousand times too short."""
    for name, parameter in model.named_parameters():
        if ".conv1." in name:
            parameter *= 1000.0


def test_undefended_weights_in_the_defended_slot_recover_exactly(judge: Judge) -> None:
    found = judge(leave, "--lora", "--full")
    assert found["weights"]["undefended"] == found["weights"]["defended"]
    recovery = found["numbers"]["worst_recovery"]
    assert (recovery["low"], recovery["value"], recovery["high"]) == (1.0, 1.0, 1.0)
    assert "ATTACK_WEAK" not in found["states"]  # the attack learns, so that recovery means something


def test_a_blank_generator_is_not_called_safe(judge: Judge) -> None:
    found = judge(blank, "--full")
    assert found["numbers"]["worst_recovery"]["value"] < 0.1
    assert found["state"] in {"MASKED", "SOURCE_BROKEN"}
    assert "MASKED" in found["states"]


def test_rescaling_keeps_what_the_generator_shows(faint: Path) -> None:
    plain, scaled = load_generator("nano", str(faint)), load_generator("nano", str(faint))
    images = torch.rand(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rescale(scaled)
        torch.testing.assert_close(scaled(images), plain(images), rtol=1e-3, atol=1e-3)


def test_non_transferable_learning_falls(faint: Path, mini_profile: Path, make_runs: Callable[..., Path]) -> None:
    """The defense `ntl` leaves the outputs on target objects far off, and fine-tuning brings them back."""
    steps = ("--set", "train.steps=20", "--set", "train.lr=3e-3", "--set", f"model.weights={faint}")
    train = ["train", "--defense", "ntl", "--profile", str(mini_profile), *EASY, *steps]
    runs = make_runs(train, ["attack", *BUDGET, "--full", "--no-controls"], ["compare"])
    (trained,), (compared,) = runs.glob("*-train-*"), runs.glob("*-compare-*")
    distances = [json.loads(line)["target_distance"] for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert distances[-1] > 10 * distances[0]
    numbers = json.loads((compared / "comparison.json").read_text())["numbers"]
    assert numbers["worst_recovery"]["value"] > 0.8


@pytest.mark.slow
def test_a_suite_recovers_weights_that_are_only_rescaled(judge: Judge) -> None:
    found = judge(rescale, "--suite", "quick", "--set", "attack.steps=8")
    assert found["numbers"]["worst_recovery"]["value"] > 0.9
