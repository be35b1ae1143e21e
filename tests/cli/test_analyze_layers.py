"""``geotrap analyze-layers``: what it passes on, what it refuses, and whole runs on a generator of toy size."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geotrap_cli.models.loading import save_generator
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile import load_profile
from geotrap_cli.runs import create_or_resume, list_runs
from geotrap_cli.sensitivity import analysis, estimate
from geotrap_cli.sensitivity.request import AnalysisRequest

#: One trap and one bar: the quickest analysis there is.
QUICK = ("--json", "--traps", "opacity", "--top", "1")


@pytest.fixture
def analyze(geotrap: Any, mini_profile: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command on two objects a side, with the toy profile and shared views."""
    monkeypatch.setenv("GEOTRAP_CACHE", str(shared_cache))

    def run(*arguments: str) -> Any:
        return geotrap("analyze-layers", "--profile", str(mini_profile), "--samples", "2", *arguments)

    return run


@pytest.mark.parametrize(
    "typed", [["position", "scale"], ["position,scale"], ["position", "--traps", "scale"], ["position, scale", "scale"]]
)
def test_any_list_of_traps_is_read(geotrap: Any, library: Any, typed: list[str]) -> None:
    geotrap("analyze-layers", "--samples", "5", "--traps", *typed, "--top", "3", "--csv", "t.csv")
    name, (_, _, _, request), _ = library.only_call
    assert name == "run_analysis"
    assert request == AnalysisRequest(traps=("position", "scale"), samples=5, top=3, csv=Path("t.csv"))


@pytest.mark.parametrize(
    "typed",
    [
        ["--mode", "attack", "--traps", "position"],
        ["--mode", "jacobian", "--traps", "position"],
        ["--mode", "trap", "--probes", "2"],
        ["--lora-safe"],
        ["--causal-action", "reset"],
        ["--causal-steps", "5"],
    ],
)
def test_options_that_would_do_nothing_are_refused(geotrap: Any, library: Any, typed: list[str]) -> None:
    done = geotrap("analyze-layers", *typed)
    assert done.code == 2
    assert "acts only with" in done.err
    assert library.calls == []


def test_a_whole_analysis_of_traps(analyze: Any, micro: Any) -> None:
    done = analyze(
        *("--csv", "mine/table.csv", "--select", "3", "--lora-safe", "--set", 'attack.lora.targets=["qkv", "proj"]')
    )
    assert done.code == 0, done.err
    assert "weights: undefended, " in done.err
    (run,) = list_runs(Path("runs"))
    assert run.name.endswith("-analyze-layers-mini")
    assert run.status == "finished"
    assert {"manifest.json", "profile.toml", "sensitivity.json", "sensitivity.csv", "bars.png", "heat.png"} <= {
        path.name for path in run.path.iterdir()
    }
    for picture in ("bars.png", "heat.png"):
        assert Image.open(run.path / picture).size[1] > 300

    rows = json.loads((run.path / "sensitivity.json").read_text())
    assert {row["unit"] for row in rows} == set(micro.units())
    ratios = [row["geometric_mean"] for row in rows]
    assert ratios == sorted(ratios, reverse=True)
    assert {"ratio_position", "ratio_opacity_low", "leverage_opacity", "holds_one"} <= set(rows[0])
    with Path("mine/table.csv").open() as file:
        assert [line["unit"] for line in csv.DictReader(file)] == [row["unit"] for row in rows]

    objects = run.manifest["objects"]
    assert [len(objects[side]) for side in ("target", "source")] == [2, 2]

    fragment = run.path / "layers.toml"
    assert str(fragment) in done.out
    units = load_profile(fragment, env={}).profile.layers.units
    reached = {row["unit"] for row in rows if row["lora_reach"]}
    assert {unit.rpartition(".")[2] for unit in reached} == {"qkv", "proj"}
    safe = [row["unit"] for row in rows if not row["lora_reach"] and row["unit"] not in ("unet.conv_out", "conv")]
    assert list(units) == safe[:3]
    assert run.name in fragment.read_text()


def test_json_and_top(analyze: Any) -> None:
    done = analyze("--json", "-q", "--top", "4", "--sort", "opacity", "--traps", "opacity", "scale")
    assert (done.code, done.err) == (0, "")
    document = done.document
    assert document["losses"] == ["opacity", "scale"]
    assert len(document["units"]) == 4
    ratios = [unit["ratio_opacity"] for unit in document["units"]]
    assert ratios == sorted(ratios, reverse=True)
    assert document["samples"] == 2


def test_nothing_is_said_of_units_that_are_missing_when_quiet(analyze: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "select_units", lambda ranked, *_: [ranked[0].row.unit])
    done = analyze(*QUICK, "-q", "--select", "2")
    assert (done.code, done.err) == (0, "")


def test_the_same_seed_gives_the_same_figures(analyze: Any) -> None:
    first, again, other = (analyze(*QUICK, "--seed", seed).document["units"] for seed in ("1", "1", "2"))
    assert first == again
    assert first != other


@pytest.mark.parametrize("mode", ["attack", "jacobian"])
def test_the_other_modes(analyze: Any, mode: str) -> None:
    done = analyze("--mode", mode, "--json", "-q", "--sort", "unit", "--top", "8")
    assert done.code == 0, done.err
    document = done.document
    losses = {"attack": ["attack"], "jacobian": ["means", "opacities", "scales", "quats", "rgb"]}[mode]
    assert document["losses"] == losses
    assert document["units"][0]["unit"] == "unet.conv_in"
    assert all(unit[f"target_{loss}"] > 0 for unit in document["units"] for loss in losses)
    assert (Path(document["run"]) / "heat.png").exists() == (mode == "jacobian")


def test_a_run_of_the_defense_brings_its_weights(
    analyze: Any, mini_profile: Path, make_micro: Any, tmp_path: Path
) -> None:
    options = CommonOptions(runs=tmp_path / "runs", profile=str(mini_profile))
    trained = create_or_resume("train", options, options.load_profile("train"))
    with trained:
        save_generator(make_micro(seed=5), trained.path / "model")
        trained.finish({})
    before = analyze(*QUICK).document
    done = analyze(*QUICK, "--run", str(trained.path))
    assert f"weights: defended, {trained.path}" in done.err
    assert done.document["units"] != before["units"]


def test_a_run_of_another_command_is_refused(analyze: Any, mini_profile: Path, tmp_path: Path) -> None:
    options = CommonOptions(runs=tmp_path / "runs", profile=str(mini_profile))
    attacked = create_or_resume("attack", options, options.load_profile("attack"))
    done = analyze("--run", str(attacked.path))
    assert done.code == 2
    assert "is a run of `geotrap attack`" in done.err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--sort", "opacty"], "there is no column 'opacty'. Did you mean 'opacity'?"),
        (["--traps", "positon"], "unknown trap 'positon'"),
        (["--select", "500"], "--select 500: only"),
        (["--mode", "attack", "--sort", "position"], "there is no column 'position'"),
        (["--causal", "unet.conv_im"], "there is no unit 'unet.conv_im'. Did you mean 'unet.conv_in'?"),
        (["--causal", "unet.norm_out"], "the attack trains nothing in unet.norm_out"),
    ],
)
def test_mistakes_are_found_before_anything_is_computed(analyze: Any, typed: list[str], message: str) -> None:
    done = analyze(*typed)
    assert done.code == 2
    assert message in done.err
    assert not Path("runs").exists()


def test_fewer_objects_than_asked_for_are_said(analyze: Any) -> None:
    done = analyze(*QUICK, "--samples", "500")
    assert "samples of each side instead of 500: the splits hold no more" in done.err


@pytest.mark.parametrize("column", ["leverage", "rms_scale"])
def test_any_column_of_the_file_sorts_and_is_then_shown(analyze: Any, column: str) -> None:
    done = analyze("-q", "--traps", "opacity", "scale", "--sort", column, "--top", "3")
    assert done.code == 0, done.err
    assert column in done.out
    (run,) = list_runs(Path("runs"))
    values = [row[column] for row in json.loads((run.path / "sensitivity.json").read_text())]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(("reach", "safe"), [("safe", True), ("reached", False)])
def test_reach_filters_what_is_shown_and_the_file_has_all(analyze: Any, micro: Any, reach: str, safe: bool) -> None:
    document = analyze("-q", *QUICK[:3], "--reach", reach, "--set", "attack.lora.targets=qkv,proj").document
    assert document["units"]
    assert {unit["lora_reach"] is False for unit in document["units"]} == {safe}
    with (Path(document["run"]) / "sensitivity.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(micro.units())


def test_target_ci_says_in_table_and_json_how_it_ended(analyze: Any) -> None:
    done = analyze("-q", "--traps", "opacity", "--top", "1", "--target-ci", "30")
    # The line names the widest unit, so where the terminal breaks it depends on the machine's arithmetic.
    assert "3000.0% reached with 2 samples a side" in " ".join(done.out.split())
    wanted, plain = analyze(*QUICK, "--target-ci", "30").document, analyze(*QUICK).document
    precision = wanted["precision"]
    assert (precision["reached"], precision["samples"], precision["target_ci"]) == (True, 2, 30)
    assert plain["precision"]["reached"] is None
    assert wanted["units"] == plain["units"]


@pytest.mark.parametrize("width", ["0", "-1", "nan"])
def test_a_width_that_cannot_be_reached_is_refused(analyze: Any, width: str) -> None:
    done = analyze("--target-ci", width)
    assert done.code == 2
    assert "--target-ci" in done.err


def test_causal_and_its_resumption(analyze: Any, geotrap: Any) -> None:
    done = analyze(*QUICK, "--causal", "top:2", "--causal-steps", "2")
    assert done.code == 0, done.err
    document = done.document
    causal, folder = document["causal"], Path(document["run"])
    assert (causal["attack"], causal["action"], causal["steps"]) == ("lora", "freeze", 2)
    units = [unit["unit"] for unit in causal["units"]]
    assert {entry["score"] for entry in causal["correlations"]} == {"geometric_mean", "rms", "leverage", "share"}
    assert all(isinstance(unit["effect_db"], float) and unit["lora_reach"] for unit in causal["units"])
    assert json.loads((folder / "causal.json").read_text()) == causal
    assert Image.open(folder / "causal.png").size[1] > 300

    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"status": "failed"}))
    (folder / "causal" / units[1] / "lora-undefended.json").unlink()
    again = geotrap("analyze-layers", "--resume", str(folder), "--json")
    assert again.code == 0, again.err
    assert again.document == document
    assert f"freeze {units[1]}" in again.err
    assert f"freeze {units[0]}" not in again.err
    assert "as it is" not in again.err
    assert "gradients" not in again.err


def test_a_resumed_run_keeps_its_own_request(geotrap: Any, library: Any) -> None:
    for typed in (["--mode", "trap"], ["--samples", "3"], ["--run", "runs/x"], ["--causal", "all"]):
        done = geotrap("analyze-layers", "--resume", *typed)
        assert done.code == 2
        assert f"{typed[0]} cannot act" in done.err


def test_dry_run_writes_nothing(analyze: Any, tmp_path: Path) -> None:
    done = analyze("--dry-run")
    assert done.code == 0
    assert "[traps.position]" in done.out
    assert "2 of each side; 1 forward and 2 backward passes a sample" in done.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(("action", "attacks", "evaluations"), [("freeze", 3, 6), ("reset", 3, 6), ("rollback", 1, 4)])
def test_dry_run_counts_the_attacks(
    analyze: Any, action: str, attacks: int, evaluations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "measure_rate", lambda *_: 1e9)
    done = analyze("--dry-run", "--json", "--causal", "top:2", "--causal-action", action, "--causal-steps", "5")
    plan, causal = done.document["plan"], done.document["plan"]["causal"]
    assert (causal["attacks"], causal["evaluations"], causal["steps"]) == (attacks, evaluations, 5)
    assert plan["estimated_seconds"] > causal["estimated_seconds"] > 0
    assert not Path("runs").exists()
