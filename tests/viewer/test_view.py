"""`geotrap view` on real runs: what it shows is what the attack measured, and it says what it cannot show."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from geotrap_cli.__main__ import main
from geotrap_cli.cameras import Cameras
from geotrap_cli.evaluation.kept_gaussians import kept_file, read_kept
from geotrap_cli.gaussians import GaussianBatch
from geotrap_cli.render import render
from geotrap_cli.reports.pairing import read_pair
from geotrap_cli.viewer.sources import expected, open_attack

pytest.importorskip("viser", reason="viser is not installed")


def cells(run: Path) -> dict[str, Any]:
    """What an attack measured, without how long it took and where it went."""
    found = {file.stem: json.loads(file.read_text()) for file in (run / "cells").glob("*.json")}
    return {name: {key: cell[key] for key in ("evaluations", "health", "last_loss")} for name, cell in found.items()}


def old_run(attacked: Path, tmp_path: Path) -> Path:
    """A copy of the run as earlier versions left it."""
    copy = tmp_path / "runs" / attacked.name
    shutil.copytree(attacked, copy)
    shutil.rmtree(copy / "gaussians")
    return copy


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["view", "--no-open", *arguments]) == 2
    return capsys.readouterr().err


def test_an_attack_keeps_its_objects_at_every_evaluation(attacked: Path) -> None:
    evaluations = cells(attacked)["lora-defended"]["evaluations"]
    targets, sources = ([score["id"] for score in evaluations[0][split][:2]] for split in ("target", "source"))
    for subject in ("undefended", "defended"):
        kept = read_kept(kept_file(attacked, "lora", subject))
        assert kept is not None
        assert kept.objects == sorted([*targets, *sources])
        assert {name: kept.steps(name) for name in targets} == {name: [0, 2, 4] for name in targets}
        assert {name: kept.steps(name) for name in sources} == {name: [0, 4] for name in sources}


def test_they_are_what_the_pictures_were_rendered_from(attacked: Path) -> None:
    kept = read_kept(kept_file(attacked, "lora", "defended"))
    assert kept is not None
    pictures = load_file(attacked / "renders" / "lora-defended.safetensors")
    truth = load_file(attacked / "renders" / "truth.safetensors")
    for name in (name for name in kept.objects if name in truth):
        picture, cameras = kept.picture(name)
        assert torch.equal(picture, truth[name][0])
        views = Cameras(cameras.viewmats[None], cameras.Ks[None], cameras.width, cameras.height)
        for step in kept.steps(name):
            gaussians = kept.gaussians(name, step)
            assert gaussians is not None
            rgb = 255 * render(GaussianBatch(gaussians[None]), views).rgb[0, 0]
            assert float((rgb - pictures[f"{name}@{step}"][0]).abs().max()) < 3


def test_keeping_none_changes_no_number_and_no_key(
    attacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    shutil.copytree(attacked.parent, root)
    train = next(root.glob("*-train-*"))
    attack = ["attack", "--lora", "--runs", str(root), "--run", str(train), "--set", "attack.keep_gaussians=0"]
    before = set(root.iterdir())
    assert main(attack) == 0
    assert "taken from" in capsys.readouterr().err
    (again,) = (path for path in root.glob("*-attack-*") if path not in before)
    # What was taken over brings what it had kept.
    assert kept_file(again, "lora", "defended").read_bytes() == kept_file(attacked, "lora", "defended").read_bytes()
    before = set(root.iterdir())
    assert main([*attack, "--quiet", "--no-reuse"]) == 0
    (anew,) = (path for path in root.glob("*-attack-*") if path not in before)
    assert not (anew / "gaussians").exists()
    assert cells(anew) == cells(attacked)
    keys = [json.loads(line)["key"] for line in (root / "results.jsonl").read_text().splitlines()]
    assert len(keys) == 4 and len(set(keys)) == 2


def test_an_old_run_shows_both_ends_made_anew(attacked: Path, tmp_path: Path) -> None:
    """The same Gaussians that the run would have kept."""
    pair = read_pair(old_run(attacked, tmp_path), "lora")
    shown = open_attack(pair)
    assert "both ends" in shown.note
    assert expected(pair) == {name: shown.steps(name) for name in shown.objects}
    kept = read_kept(kept_file(attacked, "lora", "defended"))
    assert kept is not None
    for name in kept.objects:
        assert shown.steps(name) == [0, 4]
        for step in (0, 4):
            first, second = kept.gaussians(name, step), shown.kept["defended"].gaussians(name, step)
            assert first is not None and second is not None
            assert len(first) == pytest.approx(len(second), abs=2)
            torch.testing.assert_close(first.mean(0), second.mean(0), atol=2e-3, rtol=0)


def test_an_old_run_without_its_weights_says_so(
    attacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = old_run(attacked, tmp_path)
    shutil.rmtree(run / "weights")
    assert "nothing to see: " in (told := refused(capsys, str(run))) and "kept no weights of lora" in told


def test_it_serves_until_it_is_interrupted(
    attacked: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    browser = SimpleNamespace(open=lambda url: bool(opened.append(url)))
    monkeypatch.setattr("webbrowser.get", lambda: browser)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("geotrap_cli.viewer.run.time.sleep", interrupt)
    assert main(["view", "--json", str(attacked)]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert opened == [found["url"]] and found["url"].startswith("http://127.0.0.1:")
    assert "no browser could be opened" in err and "warning" not in err
    assert main(["view", "--no-open", "--host", "0.0.0.0", str(attacked)]) == 0
    out, err = capsys.readouterr()
    assert len(opened) == 1
    assert out.startswith("http://127.0.0.1:") and out.count("\n") == 1
    assert err.startswith("warning: listening on 0.0.0.0")


def test_dry_run_serves_nothing(attacked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", "--dry-run", "--json", "--runs", str(attacked.parent)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["url"] is None and found["run"] == str(attacked)
    # Two target objects, and the only source object there is.
    assert list(found["attacks"]["lora"].values()) == [[0, 2, 4], [0, 2, 4], [0, 4]]
    assert main(["view", "--dry-run", str(attacked)]) == 0
    assert "after 0, 2, 4 steps" in capsys.readouterr().out


def test_what_cannot_be_shown_says_why(
    attacked: Path, find_run: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "a run of `geotrap train`" in refused(capsys, str(find_run("train")))
    run = old_run(attacked, tmp_path)
    manifest = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(manifest | {"status": "interrupted"}))
    assert "is interrupted" in refused(capsys, str(run))


def test_without_viser_the_extra_is_named(
    attacked: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geotrap_cli.viewer.server.importlib.util.find_spec", lambda _: None)
    assert refused(capsys, str(attacked)).endswith("Pip install 'geotrap[view]'\n")
