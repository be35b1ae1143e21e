"""`geotrap compare` as a whole: from attack runs on disk to tables, files and exit codes."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from geotrap_cli.errors import GateFailed, NotValid, UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import plugin_keys
from geotrap_cli.reports.compare import CompareResult, run_compare
from geotrap_cli.reports.request import CompareRequest
from geotrap_cli.runs import list_runs, open_run

STRONG, RESISTING, BEATEN = (
    (18.0, 21.0, 23.0, 24.0, 24.5),
    (14.0, 15.0, 16.0, 16.5, 17.0),
    (14.0, 18.0, 23.0, 24.0, 24.4),
)


@pytest.fixture(autouse=True)
def few_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is the slow part: only tests that ask for ``curves`` draw them."""
    if "curves" not in request.fixturenames:
        monkeypatch.setattr("geotrap_cli.reports.compare_files.draw_curves", lambda _, path: path.touch())


@pytest.fixture
def curves() -> None: ...


def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def written(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def compare(runs: Any, log: Console | None = None, **options: Any) -> CompareResult:
    own = {field.name: options.pop(field.name) for field in fields(CompareRequest) if field.name in options}
    named = options.pop("runs_", ()) or tuple(filter(None, (options.pop("run", None),)))
    request = CompareRequest(runs=named, **own)
    result = run_compare(CommonOptions(runs=runs.root, **options), log or console(), request)
    assert isinstance(result, CompareResult)
    return result


def shown(result: CompareResult) -> str:
    target = console()
    result.render(target)
    return written(target)


def test_first_line_says_who_won_and_by_how_much(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    first = " ".join(shown(compare(runs)).split())
    assert first.startswith("VALID: the defense withstood what was tested. lora, the only attack run, recovers 21% [")
    assert "17.00 dB; undefended 24.50 dB, white image 15.00 dB" in first
    runs.attack(make_pair(STRONG, BEATEN))
    assert shown(compare(runs)).startswith("VALID: the attacker wins. lora")
    runs.attack(make_pair(STRONG, (14.0, 16.0, 18.0, 20.0, 22.0)))
    assert shown(compare(runs)).startswith("VALID: the attacker gets part of the way.")


def test_an_attack_that_makes_things_worse_gets_no_credit(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, (16.9, 16.0, 15.0, 15.0, 15.0)))
    first = " ".join(shown(compare(runs)).split())
    assert "lora, the only attack run, adds nothing to the 20% [" in first
    assert "(16.90 dB;" in first


def test_doubts_about_another_attack_stand_with_it(runs: Any, make_pair: Any) -> None:
    runs.attack([*make_pair((24.0, 24.4), (14.0, 15.0), "weak"), *make_pair(STRONG, RESISTING)])
    text = shown(compare(runs, details=True))
    assert text.startswith("VALID: the defense withstood")
    assert "weak is ATTACK_WEAK: the undefended attack gains 0.40 dB" in text


def test_equal_weights_are_named(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, STRONG), weights={"undefended": "same", "defended": "same"})
    assert "the defended weights are the undefended ones" in shown(compare(runs))


@pytest.mark.parametrize("details", [False, True])
def test_strongest_attack_comes_first_and_all_fits_100_columns(runs: Any, make_pair: Any, details: bool) -> None:
    runs.attack([*make_pair(STRONG, RESISTING), *make_pair(STRONG, BEATEN, "full")])
    text = shown(compare(runs, details=details))
    assert "the attacker wins. full, the strongest of 2 attacks" in text
    assert text.index("full: before and after") < text.find("lora: before and after") or not details
    paths = ("table: ", "curves: ", "all numbers: ", "numbers by name: ", "report: ", "not measured: ", "next: ")
    assert max(len(line) for line in text.splitlines() if not line.startswith(paths)) <= 100
    assert "…" not in text


def test_table_of_every_metric_before_and_after(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    lines = shown(compare(runs, details=True)).splitlines()
    after = lines.index(next(line for line in lines if line.startswith("target, after 100 steps")))
    assert lines[after + 1].split() == [
        *("foreground", "PSNR", "(dB)", "24.50", "17.00", "-7.50", "[-7.50,", "-7.50]"),
        *("0.69", "[0.69,", "0.70]"),
    ]
    assert [line.split()[0] for line in lines[after + 2 : after + 4]] == ["whole-image", "SSIM"]
    assert any(line.startswith("source, after 100 steps") for line in lines)


def test_files(runs: Any, make_pair: Any, tmp_path: Path, curves: None) -> None:
    runs.attack(make_pair(STRONG, RESISTING), draw=True)
    result = compare(runs, csv=tmp_path / "copy.csv")
    run = open_run(result.run)
    assert (run.command, run.status, run.name.split("-")[1:]) == ("compare", "finished", ["compare", "sample"])
    names = {path.name for path in result.run.iterdir()}
    assert names >= {"comparison.json", "comparison.csv", "recovery.png", "sheet.png", "summary.json", "profile.toml"}
    assert (tmp_path / "copy.csv").read_bytes() == (result.run / "comparison.csv").read_bytes()
    assert run.summary()["state"] == "VALID"
    with Image.open(result.run / "sheet.png") as sheet:
        # Two objects, five pictures of 16 x 16 enlarged tenfold.
        assert sheet.width > 5 * 160
        assert sheet.height > 2 * 160
        row = np.asarray(sheet.convert("L"))[100]
    # The first object, from left to right: truth, undefended before and after, defended before and after.
    shades = [int(shade) for shade, previous in zip(row[1:], row[:-1], strict=True) if shade != previous]
    assert [shade for shade in shades if shade in (200, 136, 184, 104, 128)] == [200, 136, 184, 104, 128]
    text = shown(result)
    assert str(result.run / "sheet.png") in text
    assert "geotrap attack" in text.splitlines()[-1]


def test_csv_has_a_row_for_each_metric_split_and_step(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    rows = list(csv.DictReader((compare(runs).run / "comparison.csv").open()))
    assert list(rows[0])[:5] == ["attack", "split", "metric", "step", "undefended"]
    assert {"difference_low", "ratio_high", "groups", "recovery_undefended", "recovery_defended"} <= rows[0].keys()
    assert len(rows) == 4 * (5 + 2)
    last = next(
        row for row in rows if (row["split"], row["metric"], row["step"]) == ("target", "foreground_psnr", "100")
    )
    assert float(last["ratio"]) == pytest.approx(17 / 24.5)
    assert float(last["recovery_defended"]) == pytest.approx(2 / 9.5)
    assert float(last["recovery_undefended"]) == 1.0
    source = next(row for row in rows if row["split"] == "source")
    assert source["recovery_defended"] == ""


def test_payload_is_strict_json_also_with_infinite_and_undefined_numbers(
    runs: Any, make_pair: Any, curves: None
) -> None:
    runs.attack(make_pair((18.0, 24.0), (float("inf"), float("nan"))))
    result = compare(runs)
    text = json.dumps(result.payload(), allow_nan=False)
    assert json.loads((result.run / "comparison.json").read_text(), parse_constant=pytest.fail)
    document = json.loads(text, parse_constant=pytest.fail)
    values = [
        row["defended"] for row in document["rows"] if (row["metric"], row["split"]) == ("foreground_psnr", "target")
    ]
    assert values == ["inf", None]
    assert document["state"] == "DIVERGED"
    assert "wins" not in document["headline"]


def test_payload_names_everything(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    document = compare(runs).payload()
    assert (document["state"], document["worst_attack"], document["groups"]) == ("VALID", "lora", 6)
    assert document["recovery"]["value"] == pytest.approx(2 / 9.5)
    assert document["ceiling"] == {"value": 24.5, "attack": "lora", "step": 100}
    (attack,) = document["attacks"]
    counts = {count["threshold"]: count for count in attack["steps_to_recover"]}
    assert sorted(counts) == [0.5, 0.8, 0.9, 0.95]
    assert (counts[0.9]["undefended"], counts[0.9]["defended"]) == (75, {"more_than": 100})
    assert counts[0.5]["slow_down"] == {"more_than": 4.0}
    assert attack["defended"]["trainable_parameters"] == 350_000
    assert attack["evidence"]["source_loss"] == 0.0
    assert any("seeds other than 0" in text for text in document["not_tested"])
    assert any("full" in text for text in document["not_tested"])


def test_one_group_has_no_interval(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING, ids=["mug/0"]))
    text = shown(compare(runs))
    assert "1 object in 1 group; one group, so no intervals" in text
    assert "recovers 21% after 100 of 100 steps" in " ".join(text.split())


def test_own_threshold_counts(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING), profile="[eval]\nbootstrap = 20\nrecover_threshold = 0.2\n")
    result = compare(runs)
    assert shown(result).startswith("VALID: the attacker wins.")
    assert result.payload()["attacks"][0]["steps_to_recover"][0]["threshold"] == 0.2


def test_takes_missing_attacks_from_runs_on_the_same_weights_and_says_so(runs: Any, make_pair: Any) -> None:
    older = runs.attack(make_pair(STRONG, BEATEN, "full"))
    runs.attack(make_pair(STRONG, BEATEN, "elsewhere"), weights={"undefended": "u", "defended": "other"})
    runs.attack(make_pair(STRONG, BEATEN, "otherwise"), train_run="runs/other")
    runs.attack(make_pair(STRONG, BEATEN, "interrupted"), finish=False)
    newest = runs.attack(make_pair(STRONG, RESISTING))
    log = console()
    result = compare(runs, log)
    assert [attack.method for attack in result.comparison.attacks] == ["full", "lora"]
    assert result.comparison.selection.runs == [newest, older]
    said = " ".join(written(log).split())
    assert f"comparing {newest} (lora)" in said
    assert f"adding full, seed 0, from {older}" in said


def test_run_names_another(runs: Any, make_pair: Any) -> None:
    older = runs.attack(make_pair(STRONG, BEATEN))
    runs.attack(make_pair(STRONG, RESISTING))
    assert shown(compare(runs, run=older)).startswith("VALID: the attacker wins.")


def test_broken_or_other_runs_beside_are_left_out_aloud(runs: Any, make_pair: Any) -> None:
    broken = runs.attack(make_pair(STRONG, BEATEN, "full"))
    (broken / "cells" / "full-defended.json").write_text("{}")
    runs.attack(make_pair(STRONG, BEATEN, "other", ids=["mug/7", "mug/8"]))
    runs.attack(make_pair(STRONG, RESISTING))
    log = console()
    assert [attack.method for attack in compare(runs, log).comparison.attacks] == ["lora"]
    said = " ".join(written(log).split())
    assert f"leaving out {broken}" in said
    assert "measured other objects or views" in said


def test_quiet_says_nothing(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    log = console()
    compare(runs, log, quiet=True)
    assert written(log) == ""


def test_no_pictures_are_missed_aloud(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    log = console()
    result = compare(runs, log)
    assert "pictures" not in result.files
    assert "kept no pictures" in written(log)


def test_dry_run_writes_nothing(runs: Any, make_pair: Any) -> None:
    attack = runs.attack(make_pair(STRONG, RESISTING))
    result = run_compare(CommonOptions(runs=runs.root, dry_run=True), console())
    assert result.payload()["attacks"] == {"lora": str(attack)}
    assert [run.command for run in list_runs(runs.root)] == ["attack"]


def test_require_valid(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    assert compare(runs, require_valid=True).failure is None
    runs.attack(make_pair((18.0, 18.1), (14.0, 14.1)), weights={"undefended": "u", "defended": "other"})
    assert compare(runs).failure is None
    failure = compare(runs, require_valid=True).failure
    assert isinstance(failure, NotValid)
    assert failure.exit_code == 4
    assert "ATTACK_WEAK" in failure.message
    assert shown(compare(runs)).startswith("ATTACK_WEAK: no evidence for the defense.")
    assert "geotrap attack lora --set attack.steps=" in str(failure.hint)


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"source": None}, "geotrap attack"),
        ({"defended_source": 19.0}, "geotrap train --profile"),
    ],
)
def test_next_command_answers_the_state(runs: Any, make_pair: Any, changes: dict[str, Any], command: str) -> None:
    lower = changes.pop("defended_source", None)
    pair = make_pair(STRONG, RESISTING, **changes)
    if lower is not None:
        pair[1] = make_pair(STRONG, RESISTING, source=lower)[1]
    runs.attack(pair)
    assert shown(compare(runs)).splitlines()[-1].startswith(f"next: {command}")


def test_no_attack_run_names_the_command(runs: Any) -> None:
    with pytest.raises(UsageError, match="no finished attack run") as error:
        compare(runs)
    assert "geotrap attack" in str(error.value.hint)


def test_unfinished_attack_run_names_the_command(runs: Any, make_pair: Any) -> None:
    path = runs.attack(make_pair(STRONG, RESISTING), finish=False)
    with pytest.raises(UsageError, match="is interrupted") as error:
        compare(runs, run=path)
    assert f"geotrap attack --resume {path}" in str(error.value.hint)


def test_run_of_another_command_is_refused(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    run = compare(runs).run
    with pytest.raises(UsageError, match="geotrap compare"):
        compare(runs, run=run)


@pytest.mark.parametrize("summary", [{"methods": []}, {"weights": {"undefended": "a"}}, {"weights": None}])
def test_incomplete_summary_is_refused(runs: Any, make_pair: Any, summary: dict[str, Any]) -> None:
    runs.attack(make_pair(STRONG, RESISTING), **summary)
    with pytest.raises(UsageError, match="does not say which weights") as error:
        compare(runs)
    assert "geotrap attack" in str(error.value.hint)


def test_missing_cell_is_refused(runs: Any, make_pair: Any) -> None:
    path = runs.attack(make_pair(STRONG, RESISTING))
    (path / "cells" / "lora-defended.json").unlink()
    with pytest.raises(UsageError, match=r"lora-defended\.json"):
        compare(runs)


def test_unreadable_pictures_are_an_error(runs: Any, make_pair: Any) -> None:
    path = runs.attack(make_pair(STRONG, RESISTING), draw=True)
    (path / "renders" / "lora-defended.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(UsageError, match="cannot read the pictures"):
        compare(runs)
    assert {run.status for run in list_runs(runs.root) if run.command == "compare"} == {"failed"}


def test_a_diverged_attack_leaves_a_gap_in_the_sheet(runs: Any, make_pair: Any) -> None:
    from safetensors.torch import load_file, save_file

    path = runs.attack(make_pair(STRONG, RESISTING), draw=True)
    pictures = path / "renders" / "lora-defended.safetensors"
    save_file({name: value for name, value in load_file(pictures).items() if name.endswith("@0")}, pictures)
    assert compare(runs).files["pictures"].is_file()


def test_gates_are_told_and_fail_after_the_result(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    result = compare(runs, gates=("worst_recovery<=0.5", "benign_trainability>=0.95"), require_valid=True)
    assert isinstance(result.failure, GateFailed)
    assert "1 of 2 gates failed: benign_trainability>=0.95: not measured" in result.failure.message
    text = shown(result)
    assert "gate passed: worst_recovery<=0.5: it is 0.2105" in text
    assert "gate failed: benign_trainability>=0.95: not measured" in text
    saved = json.loads((result.run / "comparison.json").read_text())
    assert [gate["passed"] for gate in saved["gates"]] == [True, False]
    assert compare(runs, gates=("worst_recovery<=0.5",), require_valid=True).failure is None


def test_a_gate_on_an_unknown_number_leaves_no_run_behind(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    for gate, problem in (("lora.recovry<=1", "lora.recovery"), ("recovery", "worst_recovery<=0.5")):
        with pytest.raises(UsageError) as error:
            compare(runs, gates=(gate,))
        assert problem in str(error.value.hint)
    assert [run.command for run in list_runs(runs.root)] == ["attack"]


def test_numbers_by_name_as_csv(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair(STRONG, RESISTING))
    rows = {row["name"]: row for row in csv.DictReader((compare(runs).run / "numbers.csv").open())}
    assert float(rows["worst_recovery"]["value"]) == pytest.approx(2 / 9.5)
    assert rows["lora.steps_to_90_defended"]["value"] == "100"
    assert rows["lora.steps_to_90_defended"]["more_than"] == "True"
    assert rows["benign_trainability"]["missing"]
    assert rows["worst_recovery"]["cells"].endswith("lora-defended.json")


def test_several_runs_join_and_must_attack_the_same_weights(runs: Any, make_pair: Any) -> None:
    first = runs.attack(make_pair(STRONG, RESISTING))
    second = runs.attack(make_pair(STRONG, BEATEN, seed=1), train_run="elsewhere/train")
    other = runs.attack(make_pair(STRONG, BEATEN), weights={"undefended": "u", "defended": "other"})
    result = compare(runs, log := console(), **{"runs_": (first, second)})
    assert [attack.label for attack in result.comparison.attacks] == ["lora, seed 1", "lora, seed 0"]
    assert f"adding lora, seed 1, from {second}" in " ".join(written(log).split())
    text = shown(result)
    assert "Attacks with several seeds" in text
    assert "best attack so far over 2 trials: 21% lora, seed 0 (trial 1), 99% lora, seed 1 (trial 2)" in text
    with pytest.raises(UsageError, match="attacked other weights"):
        compare(runs, **{"runs_": (first, other)})


def test_worst_case_is_the_last_line_of_the_overview(runs: Any, make_pair: Any) -> None:
    runs.attack([*make_pair(STRONG, RESISTING), *make_pair(STRONG, BEATEN, "full")])
    lines = shown(compare(runs)).splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("attack "))
    names = [line.split()[0] for line in lines[start + 2 : start + 5]]
    assert names == ["full", "lora", "worst"]
    assert "99%" in lines[start + 4]


def test_the_first_screen_is_short_and_says_what_it_leaves_out(runs: Any, make_pair: Any) -> None:
    curves = {f"a{index:02}": [14.0, 15.0, 16.0, 16.0 + index / 10, 16.0] for index in range(14)}
    runs.attack([cell for name, curve in curves.items() for cell in make_pair(STRONG, curve, name)])
    text = shown(compare(runs))
    assert len(text.splitlines()) < 66
    assert "a13: before and after" in text and "a12: before and after" not in text
    assert "4 weaker attacks left out" in text
    assert "--details" in text
    for name in ("worst_resistance", "worst_slow_down_90_scratch", "source_change_db", "benign_trainability"):
        assert name in text
    assert "mean_recovery" not in text
    assert f"{len(plugin_keys('geotrap.attacks'))} of {len(plugin_keys('geotrap.attacks'))} attacks" in text


def test_details_hide_nothing(runs: Any, make_pair: Any) -> None:
    curves = {f"a{index:02}": [14.0, 15.0, 16.0, 16.0 + index / 10, 16.0] for index in range(11)}
    runs.attack([cell for name, curve in curves.items() for cell in make_pair(STRONG, curve, name)])
    result = compare(runs, details=True)
    text = shown(result)
    assert all(f"{name}: health and cost" in text for name in curves)
    assert "left out" not in text
    assert all(name in text for name in result.comparison.numbers if "." not in name and name.startswith("worst"))
    assert all(key in text for key in plugin_keys("geotrap.attacks"))
