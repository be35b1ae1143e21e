"""Controls: what they are made of, that they run beside every attack, and that a comparison knows what they say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geotrap_cli.__main__ import main
from geotrap_cli.evaluation.cells import CONTROLS
from geotrap_cli.evaluation.evaluate import FLOOR
from geotrap_cli.evaluation.store import ResultsStore
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.tensors import weights_hash
from geotrap_cli.training.attack_cell import CellRunner
from geotrap_cli.training.control_weights import add_matched_noise, scratch_model
from geotrap_cli.training.controls import benign_bench, control_subjects

FAST = ("--set", "attack.steps=2", "--set", "attack.evaluations=1", "--set", "eval.objects=2", "--set", "eval.views=1")


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    root = tmp_path / "runs"
    shutil.copytree(trained, root)
    return root


def attack(*arguments: str) -> int:
    return main(["attack", "--quiet", *FAST, *arguments])


def compare(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["compare", "--quiet", "--json", *arguments]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def numbers(document: dict[str, Any]) -> dict[str, Any]:
    return {name: number["value"] for name, number in document["numbers"].items()}


def newest(root: Path) -> Path:
    return max(root.glob("*-attack-*"), key=lambda run: json.loads((run / "manifest.json").read_text())["created"])


class TestWeights:
    def test_noise_moves_every_unit_as_far_as_the_defense_did(self, make_micro: Callable[..., LGM]) -> None:
        before, defended = make_micro(), make_micro()
        moved = [name for name in before.units() if "mid" in name or name == "unet.conv_in"]
        with torch.no_grad():
            for number, unit in enumerate(moved, start=1):
                for name in before.units()[unit]:
                    defended.get_parameter(name).add_(0.01 * number)
        noisy = add_matched_noise(make_micro(), defended, seed=3)

        def distance(model: LGM, unit: str) -> float:
            changes = [
                (model.get_parameter(name) - before.get_parameter(name)).detach() for name in before.units()[unit]
            ]
            return float(torch.cat([change.double().flatten() for change in changes]).norm())

        for unit in before.units():
            assert distance(noisy, unit) == pytest.approx(distance(defended, unit), rel=1e-4)
            assert (distance(noisy, unit) > 0) == (unit in moved)
        assert not torch.equal(
            noisy.get_parameter("unet.conv_in.weight"), defended.get_parameter("unet.conv_in.weight")
        )

    def test_noise_is_drawn_by_the_seed(self, make_micro: Callable[..., LGM]) -> None:
        hashes = [weights_hash(add_matched_noise(make_micro(), make_micro(1), seed)) for seed in (0, 0, 1)]
        assert hashes[0] == hashes[1] != hashes[2]

    @pytest.mark.parametrize("fuse", ["true", "false"])
    def test_scratch_has_the_architecture_and_none_of_the_weights(
        self, open_mini: Callable[..., Any], fuse: str
    ) -> None:
        opened = open_mini(f"model.fuse_head={fuse}")
        profile = opened.bench.profile
        scratch = [scratch_model(profile, torch.device("cpu")) for _ in range(2)]
        shapes = [{name: value.shape for name, value in m.named_parameters()} for m in (scratch[0], opened.model)]
        assert shapes[0] == shapes[1]
        assert weights_hash(scratch[0]) == weights_hash(scratch[1]) != weights_hash(opened.model)


def test_benign_objects_are_trained_on_and_held_out_by_group(open_mini: Callable[..., Any]) -> None:
    bench = open_mini().bench
    benign = benign_bench(bench)
    trained, held_out = set(benign.splits.attack_target), set(benign.splits.eval_target)
    groups = {record.id: record.group for record in bench.dataset.records}
    assert trained and held_out
    assert trained | held_out == set(bench.splits.benign)
    assert not {groups[name] for name in trained} & {groups[name] for name in held_out}
    # An attack that heals on benign objects must not see those that are measured.
    assert set(benign.splits.benign) == trained


def test_controls_are_named_in_one_order() -> None:
    assert control_subjects(("benign", "scratch")) == ("scratch", "benign_undefended", "benign_defended")
    assert control_subjects(()) == ()


def test_all_controls_of_a_run_are_measured_once_stored_and_compared(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = ("full", "--set", "attack.controls=scratch,distill,noise,benign")
    assert attack(*every) == 0
    first = newest(root)
    assert {path.name for path in (first / "cells").iterdir()} == {
        f"full-{subject}.json" for subject in ("undefended", "defended", *CONTROLS)
    }
    assert len(ResultsStore(root).rows()) == 2 + len(CONTROLS)
    assert not list((first / "checkpoints").glob("full-*"))
    document = compare(capsys)
    found = numbers(document)
    for name in ("scratch", "distill", "noise"):
        assert found[f"full.recovery_{name}"] == found[f"worst_recovery_{name}"]
        assert name in {control["subject"] for control in document["controls"]}
    assert not any("(control)" in text for text in document["not_tested"])
    assert numbers(compare(capsys, "--store", str(root))) == found

    def refuse(*_: Any) -> None:
        raise AssertionError("measured before")

    monkeypatch.setattr(CellRunner, "run", refuse)
    monkeypatch.setattr("geotrap_cli.training.control_distillation.optimise", refuse)
    assert attack(*every) == 0
    assert len(list((newest(root) / "cells").iterdir())) == 2 + len(CONTROLS)
    assert attack("full", "--no-controls") == 0
    assert len(list((newest(root) / "cells").iterdir())) == 2


def test_controls_beside_the_attacks_that_are_named_alone(root: Path) -> None:
    stated = ("--set", "attack.controls=scratch", "--set", "attack.control_attacks=sgd")
    assert attack("full", "sgd", *stated) == 0
    assert [path.name for path in (newest(root) / "cells").glob("*-scratch.json")] == ["sgd-scratch.json"]


def test_a_control_that_cannot_run_is_left_out_and_noted(root: Path) -> None:
    assert attack("full", "--set", "attack.controls=benign", "--set", "data.benign=[]") == 0
    left_out = json.loads((newest(root) / "manifest.json").read_text())["controls_left_out"]
    assert set(left_out) == {"full-benign_undefended", "full-benign_defended"}
    assert "none of them" in left_out["full-benign_defended"]


def test_undefended_weights_in_the_place_of_defended_ones_recover_everything(
    root: Path, micro_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (train,) = root.glob("*-train-*")
    manifest = json.loads((train / "manifest.json").read_text())
    shutil.rmtree(train / "model")
    shutil.copytree(micro_weights, train / "model")
    (train / "manifest.json").write_text(json.dumps(manifest | {"defended": manifest["weights"]}))
    run = CellRunner.run

    def on_another_scale(runner: CellRunner, *arguments: Any) -> Any:
        """A toy generator is no better than a white image: let the floor be lower."""
        cell = run(runner, *arguments)
        for score in (score for evaluation in cell.evaluations for score in evaluation.target):
            score.metrics[FLOOR] = 0.0
        return cell

    monkeypatch.setattr(CellRunner, "run", on_another_scale)
    assert attack("full", "--set", "attack.controls=noise") == 0
    document = compare(capsys)

    recovery = document["recovery"]
    assert recovery["low"] <= 1.0 <= recovery["high"]
    assert recovery["value"] == pytest.approx(1.0, abs=1e-6)
    # Weights that were moved nowhere stay where they are.
    assert numbers(document)["full.recovery_noise"] == pytest.approx(1.0, abs=1e-6)
