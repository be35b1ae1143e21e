"""What each command passes on, and what the listings show."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.cli.options import accepts
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.request import CompareRequest
from geotrap_cli.runs import create_or_resume


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A finished run of ``geotrap train`` with the profile pos_scale, in ./runs."""
    options = CommonOptions(runs=tmp_path / "runs", profile="pos_scale", overrides=("train.steps=3",))
    run = create_or_resume("train", options, options.load_profile("train"))
    with run:
        run.finish({})
    return run.path


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_silences_what_the_package_logs(quiet: bool, caplog: pytest.LogCaptureFixture) -> None:
    @accepts("quiet")
    def command(options: CommonOptions) -> None:
        logging.getLogger("geotrap_cli.training.teacher_cache").warning("a file is damaged")

    command(quiet=quiet)  # type: ignore[call-arg]
    assert len(caplog.records) == (not quiet)
    logging.getLogger("geotrap_cli.training.teacher_cache").warning("another is")
    assert caplog.messages[-1:] == ["another is"]


class TestTrain:
    def test_defaults(self, geotrap: Any, library: Any) -> None:
        geotrap("train")
        name, (options, loaded, console), specific = library.only_call
        assert (name, specific) == ("run_defense", {})
        assert options == CommonOptions()
        assert loaded.name == "pos_opacity"
        assert console.stderr

    def test_options_may_stand_anywhere(self, geotrap: Any, library: Any) -> None:
        geotrap("--seed", "3", "train", "--set", "train.steps=7", "--device", "cpu", "-q", "--set", "data.target=axe")
        _, (options, loaded, _), _ = library.only_call
        assert (options.seed, options.device, options.quiet) == (3, "cpu", True)
        assert options.overrides == ("train.steps=7", "data.target=axe")
        profile = loaded.profile
        assert (profile.train.steps, profile.train.seed, profile.attack.seed) == (7, 3, 0)
        assert profile.data.target == ("axe",)

    def test_dry_run_prints_the_profile_and_does_nothing(self, geotrap: Any, library: Any, tmp_path: Path) -> None:
        done = geotrap("train", "--dry-run", "--set", "train.steps=7")
        assert done.code == 0
        assert "steps = 7  # --set" in done.out
        assert 'mode = "log"  # profile pos_opacity.toml' in done.out
        assert library.calls == []
        assert list(tmp_path.iterdir()) == []

    def test_resume_takes_the_profile_of_the_run(self, geotrap: Any, library: Any, trained: Path) -> None:
        from geotrap_cli.runs import open_run

        open_run(trained).record(status="failed")
        geotrap("train", "--resume", str(trained))
        _, (options, loaded, _), _ = library.only_call
        assert options.resume_path == trained
        assert (loaded.name, loaded.profile.train.steps) == ("pos_scale", 3)


class TestAttack:
    def test_takes_the_latest_run_with_its_profile(self, geotrap: Any, library: Any, trained: Path) -> None:
        geotrap("attack", "full", "--lora", "--full", "--seed", "4")
        name, (options, loaded, _), _ = library.only_call
        assert name == "run_attack"
        assert options.run == Path("runs") / trained.name
        assert loaded.name == "pos_scale"
        assert loaded.profile.attack.methods == ("full", "lora")
        assert (loaded.profile.attack.seed, loaded.profile.train.seed) == (4, 0)
        assert loaded.profile.attack.options("full")["lr"] > 0

    def test_run_by_path(self, geotrap: Any, library: Any, trained: Path) -> None:
        geotrap("attack", "--run", str(trained), "--runs", "elsewhere")
        _, (options, loaded, _), _ = library.only_call
        assert (options.run, loaded.name) == (trained, "pos_scale")
        assert loaded.profile.attack.methods == ("lora",)

    def test_unknown_name_is_refused_with_the_closest(self, geotrap: Any, library: Any, trained: Path) -> None:
        done = geotrap("attack", "lorra")
        assert done.code == 2
        assert "attack.methods: unknown attack 'lorra'; did you mean 'lora'?" in done.err
        assert library.calls == []

    def test_names_survive_the_resolved_profile(self, geotrap: Any, library: Any, trained: Path) -> None:
        done = geotrap("attack", "--full", "--dry-run", "--json")
        assert done.document["profile"]["attack"]["methods"] == ["full"]


def test_compare_passes_its_options(geotrap: Any, library: Any) -> None:
    gates = ("--gate", "worst_recovery<=0.5", "--gate", "trials>=2")
    geotrap(
        "compare",
        "--csv",
        "table.csv",
        "--require-valid",
        "--run",
        "a",
        "--run",
        "b",
        "--store",
        "s",
        "--details",
        *gates,
    )
    name, (options, console, request), _ = library.only_call
    assert name == "run_compare"
    assert options.run is None
    assert request == CompareRequest(
        runs=(Path("a"), Path("b")),
        stores=(Path("s"),),
        csv=Path("table.csv"),
        gates=("worst_recovery<=0.5", "trials>=2"),
        require_valid=True,
        details=True,
    )
    assert console.stderr


@pytest.mark.parametrize("other", ["--json", "--dry-run"])
def test_details_of_what_prints_no_tables_are_refused(geotrap: Any, library: Any, other: str) -> None:
    done = geotrap("compare", "--details", other)
    assert (done.code, library.calls) == (2, [])
    assert other in done.err and "--details" in done.err


def test_attack_takes_over_what_was_measured_unless_told_otherwise(geotrap: Any, library: Any, trained: Path) -> None:
    for arguments in ((), ("--no-reuse",)):
        geotrap("attack", *arguments)
    assert [call[2]["reuse"] for call in library.calls] == [True, False]


def test_pretrain_has_its_own_default_profile(geotrap: Any, library: Any) -> None:
    geotrap("pretrain")
    geotrap("pretrain", "--profile", "pos_scale")
    assert [call[1][1].name for call in library.calls] == ["nano_pretrain", "pos_scale"]


class TestPlugins:
    def test_table(self, geotrap: Any) -> None:
        shown = geotrap("plugins").out.splitlines()
        assert shown[0].split() == ["key", "group", "package", "version", "what", "it", "does"]
        row = next(line.split() for line in shown if "geotrap.traps" in line and "position" in line)
        assert row[:3] == ["position", "geotrap.traps", "geotrap"]

    def test_text_of_a_plug_in_is_no_markup(self, geotrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        from geotrap_cli import plugins

        found = [plugins.PluginInfo("mine", "geotrap.traps", "pack[age]", "1.0", "of [B, N] and [/x]", None)]
        monkeypatch.setattr(plugins, "list_plugins", lambda _: found)
        assert "of [B, N] and [/x]" in geotrap("plugins").out
        found[0] = plugins.PluginInfo("mine", "geotrap.traps", "pack", "1.0", "", "ImportError: [/y]")
        assert "broken: ImportError: [/y]" in geotrap("plugins").out

    def test_json_of_one_group(self, geotrap: Any) -> None:
        rows = geotrap("plugins", "attacks", "--json").document["plugins"]
        assert {row["group"] for row in rows} == {"geotrap.attacks"}
        assert {"key", "group", "package", "version", "summary", "error"} == set(rows[0])


class TestRuns:
    def test_none(self, geotrap: Any) -> None:
        assert geotrap("runs").out == "no runs in runs; make one with `geotrap train`\n"
        assert geotrap("runs", "--json").document == {"root": "runs", "runs": []}

    def test_one(self, geotrap: Any, trained: Path) -> None:
        line = geotrap("runs").out.splitlines()[1].split()
        assert line[:4] == [trained.name, "train", "pos_scale", "finished"]
        (row,) = geotrap("--runs", str(trained.parent), "runs", "--json").document["runs"]
        assert (row["run"], row["path"], row["status"]) == (trained.name, str(trained), "finished")

    def test_a_path_is_no_markup(self, geotrap: Any) -> None:
        assert geotrap("runs", "--runs", "my[bold]runs[/x]").out.startswith("no runs in my[bold]runs[/x];")

    @pytest.mark.parametrize(
        ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (172800, "2 d"), (-5, "0 s")]
    )
    def test_age_in_its_largest_unit(self, seconds: int, text: str) -> None:
        from datetime import timedelta

        from geotrap_cli.cli.runs import describe_age

        assert describe_age(timedelta(seconds=seconds)) == text


class TestProfiles:
    def test_list_says_what_each_is_for(self, geotrap: Any) -> None:
        rows = geotrap("profiles", "list", "--json").document["profiles"]
        names = {row["name"] for row in rows}
        assert names >= {"pos_opacity", "pos_scale", "scale_opacity", "all_traps", "nano_pretrain", "lgm_big"}
        assert all(len(row["purpose"]) > 20 for row in rows)
        table = geotrap("profiles", "list").out
        assert all(name in table for name in names)

    def test_show_loads_back(self, geotrap: Any, tmp_path: Path) -> None:
        first = geotrap("profiles", "show", "all_traps", "--set", "train.steps=9").out
        (tmp_path / "mine.toml").write_text(first)
        again = geotrap("profiles", "show", "mine.toml", "--json").document
        assert again["profile"]["train"]["steps"] == 9
        assert set(again["profile"]["traps"]) == {"position", "scale", "opacity", "rotation", "color"}

    def test_copy_keeps_comments_and_refuses_to_overwrite(self, geotrap: Any, tmp_path: Path) -> None:
        done = geotrap("profiles", "copy", "pos_scale", "mine.toml")
        assert "copied to mine.toml" in done.out
        assert (tmp_path / "mine.toml").read_text().startswith("# Geometry only")
        (tmp_path / "mine.toml").write_text("# changed\n")
        refused = geotrap("profiles", "copy", "pos_scale", "mine.toml")
        assert refused.code == 2
        assert "mine.toml exists" in refused.err
        assert (tmp_path / "mine.toml").read_text() == "# changed\n"
        assert geotrap("profiles", "copy", "pos_scale", "mine.toml", "--force").code == 0

    def test_copy_without_a_name_uses_the_profiles_own(self, geotrap: Any, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        geotrap("profiles", "copy", "pos_scale")
        geotrap("profiles", "copy", "pos_scale", "folder")
        assert (tmp_path / "pos_scale.toml").is_file()
        assert (tmp_path / "folder" / "pos_scale.toml").is_file()

    def test_validate(self, geotrap: Any, tmp_path: Path) -> None:
        assert geotrap("profiles", "validate", "pos_scale").out == "shipped profile pos_scale is valid\n"
        (tmp_path / "mine.toml").write_text("[train]\nstepz = 1\nlr = -1.0\n")
        done = geotrap("profiles", "validate", "mine.toml")
        assert done.code == 2
        assert "2 problems" in done.err
        assert done.err.count("(profile mine.toml)") == 2
