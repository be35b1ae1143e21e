"""``geotrap attacks``, and suites of them under ``geotrap attack``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import plugin_keys
from geotrap_cli.runs import create_or_resume
from geotrap_cli.suites import ADAPTIVE, QUICK
from geotrap_cli.training.attack_plan import plan_attacks


@pytest.fixture
def trained(tmp_path: Path) -> None:
    options = CommonOptions(runs=tmp_path / "runs", profile="pos_scale")
    run = create_or_resume("train", options, options.load_profile("train"))
    with run:
        run.finish({})


class TestListing:
    def test_every_attack_says_what_it_does_assumes_and_costs_and_where_it_is_from(self, geotrap: Any) -> None:
        document = geotrap("attacks", "--json").document
        assert [row["key"] for row in document["attacks"]] == plugin_keys("geotrap.attacks")
        for row in document["attacks"]:
            assert set(row) == {"key", "summary", "assumes", "source", "budget"}
            assert all(row.values()), row["key"]
            assert not any("\n" in text for text in row.values()), row["key"]

    def test_suites_are_named(self, geotrap: Any) -> None:
        suites = geotrap("attacks", "--json").document["suites"]
        assert suites["quick"] == list(QUICK)
        assert suites["adaptive"] == list(ADAPTIVE)
        assert suites["full"] == plugin_keys("geotrap.attacks")

    def test_for_people(self, geotrap: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "160")
        lines = geotrap("attacks").out.splitlines()
        assert lines[0].split()[:2] == ["key", "what"]
        assert any(line.startswith("lora_rank ") for line in lines)
        assert any(line.startswith("--suite quick") for line in lines)


class TestSuite:
    def methods(self, library: Any) -> tuple[str, ...]:
        _, (_, loaded, _), _ = library.only_call
        names: tuple[str, ...] = loaded.profile.attack.methods
        return names

    def test_quick(self, geotrap: Any, library: Any, trained: None) -> None:
        geotrap("attack", "--suite", "quick")
        assert self.methods(library) == QUICK

    def test_with_further_attacks_each_once(self, geotrap: Any, library: Any, trained: None) -> None:
        geotrap("attack", "dora", "--suite", "adaptive", "desaturate", "--lora")
        assert self.methods(library) == (
            "dora",
            "desaturate",
            "lora",
            *(key for key in ADAPTIVE if key not in ("desaturate", "teacher_outputs")),
        )

    def test_what_lacks_an_option_is_left_out_and_named(self, geotrap: Any, library: Any, trained: None) -> None:
        done = geotrap("attack", "--suite", "adaptive")
        assert "teacher_outputs is left out: attack.teacher_outputs.teacher is not set" in done.err
        assert self.methods(library) == tuple(key for key in ADAPTIVE if key != "teacher_outputs")

    def test_with_the_option_it_stays(self, geotrap: Any, library: Any, trained: None) -> None:
        done = geotrap("attack", "--suite", "adaptive", "--set", "attack.teacher_outputs.teacher=public")
        assert "left out" not in done.err
        assert self.methods(library) == ADAPTIVE

    def test_variants_and_attacks_that_do_not_fit_the_budget_are_named(
        self, geotrap: Any, library: Any, trained: None
    ) -> None:
        done = geotrap("attack", "--suite", "adaptive", "--set", "attack.steps=10")
        assert "kick_settle-rate-10 is left out: kick_steps is 10 of 10 steps" in done.err
        assert "kick_settle" in self.methods(library)

    def test_what_does_not_fit_at_all_leaves_the_suite(self, geotrap: Any, library: Any, trained: None) -> None:
        short = ("--set", "attack.steps=10", "--set", "attack.kick_settle.displacements=[]")
        done = geotrap("attack", "--suite", "adaptive", *short)
        assert "kick_settle is left out: kick_steps is 10 of 10 steps" in done.err
        assert "kick_settle" not in self.methods(library)

    def test_the_profile_is_read_once(
        self, geotrap: Any, library: Any, trained: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        load = CommonOptions.load_profile

        def counted(options: CommonOptions, *arguments: Any, **named: Any) -> Any:
            calls.append("once")
            return load(options, *arguments, **named)

        monkeypatch.setattr(CommonOptions, "load_profile", counted)
        geotrap("attack", "--suite", "adaptive")
        assert calls == ["once"]

    def test_controls(self, geotrap: Any, library: Any, trained: None) -> None:
        stated = (
            ((), ()),
            (("--set", "attack.controls=scratch"), ("scratch",)),
            (("--set", "attack.controls=scratch", "--no-controls"), ()),
            (("--suite", "quick"), ("scratch", "distill")),
            (("--suite", "adaptive"), ("scratch",)),
            (("--suite", "full"), ("scratch", "distill", "noise", "benign")),
            (("--suite", "full", "--set", "attack.controls=noise"), ("noise",)),
            (("--suite", "full", "--no-controls"), ()),
        )
        for arguments, expected in stated:
            library.calls.clear()
            geotrap("attack", *arguments)
            _, (_, loaded, _), _ = library.only_call
            assert loaded.profile.attack.controls == expected

    def test_controls_of_a_suite_beside_the_attacks_that_are_named(
        self, geotrap: Any, library: Any, trained: None
    ) -> None:
        done = geotrap("attack", "--suite", "quick", "--set", "attack.control_attacks=lora")
        assert done.code == 0, done.err
        _, (_, loaded, _), _ = library.only_call
        assert loaded.profile.attack.control_attacks == ("lora",)
        assert loaded.profile.attack.controls == ("scratch", "distill")

    def test_quick_is_short_unless_it_is_told_otherwise(self, geotrap: Any, library: Any, trained: None) -> None:
        stated = ("--set", "attack.steps=300", "--set", "attack.anti_trap.weights=[1.0]")
        for arguments, steps, weights in (((), 80, [0.1]), (stated, 300, [1.0])):
            library.calls.clear()
            geotrap("attack", "--suite", "quick", *arguments)
            _, (_, loaded, _), _ = library.only_call
            attack = loaded.profile.attack
            assert (attack.steps, attack.options("anti_trap")["weights"]) == (steps, weights)
            assert attack.options("desaturate")["modes"] == ["straight_through"]
            assert len(plan_attacks(loaded.profile)) == len(QUICK)
            assert loaded.origins["attack.desaturate.shrinks"] == "--suite quick"

    def test_tune(self, geotrap: Any, library: Any, trained: None) -> None:
        geotrap("attack", "lora", "--tune", "7")
        _, (_, loaded, _), _ = library.only_call
        assert loaded.profile.attack.tune.trials == 7
        assert geotrap("attack", "--tune", "0").code == 2
        assert geotrap("attack", "--resume", "--tune", "3").code == 2

    def test_full_is_everything_that_can_run(self, geotrap: Any, library: Any, trained: None) -> None:
        geotrap("attack", "--suite", "full")
        assert set(self.methods(library)) == set(plugin_keys("geotrap.attacks")) - {"teacher_outputs"}

    def test_unknown_names_are_refused_with_the_closest(self, geotrap: Any, library: Any, trained: None) -> None:
        done = geotrap("attack", "--suite", "quik")
        assert done.code == 2
        assert "unknown suite 'quik'" in done.err
        assert "'quick'" in done.err
        done = geotrap("attack", "lora_rnak")
        assert done.code == 2
        assert "did you mean 'lora_rank'" in done.err.lower()
        assert library.calls == []

    def test_a_resumed_run_keeps_its_attacks(self, geotrap: Any, library: Any, trained: None) -> None:
        assert geotrap("attack", "--resume", "--suite", "quick").code == 2
        assert library.calls == []
