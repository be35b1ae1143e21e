"""``--dry-run``: what it says, that it agrees with the commands themselves, and that it does nothing."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from geotrap_attacks.lora import LoraAttack

from geotrap_cli.__main__ import main
from geotrap_cli.data.procedural.cache import RenderCache
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile import LoadedProfile, load_profile
from geotrap_cli.runs import create_or_resume
from geotrap_cli.training import attack_cell, estimate, pretrain
from geotrap_cli.training.cost import ObjectCost
from geotrap_cli.training.estimate import plan_attack, plan_defense, plan_pretrain

Load = Callable[..., LoadedProfile]
COST = ObjectCost(forward=1000.0, backward=2000.0, activations=10**6, heaviest=(8, 8, 4, 16))


@pytest.fixture
def known_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every generator costs 1000 operations forward and 2000 backward, on a device that does 10 a second."""
    monkeypatch.setattr(estimate, "count_object", lambda *_: COST)
    monkeypatch.setattr(estimate, "measure_rate", lambda *_: 10.0)


@pytest.fixture
def nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering, loading of weights and writing of runs all fail."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a dry run does nothing")

    monkeypatch.setattr(RenderCache, "load", refuse)
    monkeypatch.setattr(RenderCache, "prepare", refuse)
    monkeypatch.setattr("geotrap_cli.models.loading.load_folder", refuse)
    monkeypatch.setattr("geotrap_cli.runs.create_run", refuse)


class TestDefense:
    def test_units_are_those_that_the_defense_trains(self, load_mini: Load, micro: LGM, known_cost: None) -> None:
        (phase,) = plan_defense(CommonOptions(), load_mini()).phases
        sizes = {name: parameter.numel() for name, parameter in micro.named_parameters()}
        expected = {unit: sum(sizes[name] for name in names) for unit, names in micro.units().items()}
        assert phase.units == {unit: n for unit, n in expected.items() if unit not in ("conv", "unet.conv_out")}
        assert phase.trained == sum(phase.units.values())

    def test_chosen_units(self, load_mini: Load, known_cost: None) -> None:
        (phase,) = plan_defense(CommonOptions(), load_mini("layers.units=unet.conv_in,unet.norm_out")).phases
        assert list(phase.units) == ["unet.conv_in", "unet.norm_out"]

    def test_time_and_memory_add_up(self, load_mini: Load, known_cost: None) -> None:
        plan = plan_defense(CommonOptions(), load_mini("train.steps=5", "train.batch_size=3", "eval.objects=4"))
        (phase,) = plan.phases
        # Six objects forward and backward and three through the teacher a step; then 2 x 4 objects through both.
        assert phase.flops == 5 * (6 * 3000 + 3 * 1000) + 2 * 4 * 2 * 1000
        assert plan.seconds(phase) == phase.flops / 10
        assert (phase.runs, phase.steps, phase.evaluations) == (1, 5, 1)
        # Weights and teacher; gradient and two moments of what is trained; activations of six objects.
        assert phase.memory == 4 * (2 * plan.parameters + 3 * phase.trained) + 6 * 10**6

    def test_half_precision_halves_the_activations(self, load_mini: Load, known_cost: None) -> None:
        memory = [
            plan_defense(CommonOptions(device="cpu"), load_mini(f"train.precision={x}")).phases[0].memory
            for x in ("fp32", "bf16")
        ]
        assert memory[0] - memory[1] == 4 * 10**6 // 2

    def test_fused_head_is_planned_for(self, load_mini: Load, known_cost: None) -> None:
        plans = [plan_defense(CommonOptions(), load_mini(f"model.fuse_head={x}")) for x in ("false", "true")]
        assert plans[0].parameters - plans[1].parameters == 210

    def test_where_it_would_write(self, load_mini: Load, known_cost: None, tmp_path: Path) -> None:
        options = CommonOptions(runs=tmp_path / "elsewhere")
        assert plan_defense(options, load_mini()).output == str(tmp_path / "elsewhere" / "<UTC time>-train-mini")

    def test_missing_weights_are_noted(self, known_cost: None) -> None:
        loaded = load_profile("pos_opacity", ("model.preset=tiny",), env={})
        (note,) = plan_defense(CommonOptions(), loaded).notes
        assert "No weights are shipped for preset tiny" in note


class TestAttack:
    def test_one_phase_an_attack_for_both_sets_of_weights(
        self, load_mini: Load, make_micro: Callable[..., LGM], known_cost: None
    ) -> None:
        plan = plan_attack(CommonOptions(), load_mini("attack.methods=lora,full", "eval.objects=5"))
        lora, full = plan.phases
        assert [(phase.name, phase.runs, phase.steps, phase.evaluations) for phase in plan.phases] == [
            ("lora", 2, 4, 3),
            ("full", 2, 4, 3),
        ]
        assert full.trained == plan.parameters
        assert lora.trained == sum(p.numel() for p in LoraAttack().prepare(make_micro()).values())
        assert set(lora.units) <= set(full.units)
        # Four steps of two objects; target before, halfway and after, source before and after.
        assert lora.flops == 4 * 2 * 3000 + (3 + 2) * 5 * 1000
        assert plan.seconds(lora) == 2 * lora.flops / 10

    @pytest.mark.parametrize(("steps", "evaluations"), [(10, 3), (7, 7), (3, 10), (1, 1)])
    def test_evaluations_are_those_of_the_attack(
        self, load_mini: Load, known_cost: None, steps: int, evaluations: int
    ) -> None:
        loaded = load_mini(f"attack.steps={steps}", f"attack.evaluations={evaluations}")
        (phase,) = plan_attack(CommonOptions(), loaded).phases
        assert phase.evaluations == 1 + len(
            attack_cell.evaluation_steps(phase.steps, loaded.profile.attack.evaluations)
        )

    def test_controls_are_counted_beside_the_attacks_that_have_them(
        self, load_mini: Load, make_micro: Callable[..., LGM], known_cost: None
    ) -> None:
        controls = ("attack.controls=scratch,distill", "attack.control_attacks=full", "train.steps=9")
        distilled, lora, full = plan_attack(CommonOptions(), load_mini("attack.methods=lora,full", *controls)).phases
        assert (lora.runs, full.runs) == (2, 4)
        # The teacher sees every batch of two, too.
        assert (distilled.runs, distilled.steps, distilled.flops) == (1, 9, 9 * 2 * (3000 + 1000))
        assert distilled.trained == plan_defense(CommonOptions(), load_mini()).phases[0].trained


class TestPretrain:
    @pytest.mark.parametrize("steps", [3, 4, 5, 12])
    def test_evaluations_are_those_of_the_run(
        self, load_mini: Load, open_mini: Callable[..., Any], known_cost: None, steps: int
    ) -> None:
        (phase,) = plan_pretrain(CommonOptions(), load_mini(f"train.steps={steps}")).phases
        assert phase.evaluations == 1 + len(pretrain._evaluations(open_mini(f"train.steps={steps}").bench))

    def test_it_begins_from_the_preset(self, load_mini: Load, known_cost: None) -> None:
        plan = plan_pretrain(CommonOptions(), load_mini())
        assert plan.parameters == plan.phases[0].trained == 4_351_472
        assert plan.notes == ()


def test_lgm_big_is_planned_without_being_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "measure_rate", lambda *_: 1e13)
    loaded = load_profile("lgm_big", ("data.root=nowhere",), env={})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plan = plan_defense(CommonOptions(device="cpu"), loaded)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    (phase,) = plan.phases
    assert plan.parameters == 415_042_848
    assert phase.memory > 4 * 4 * plan.parameters
    assert grown * 1024 < 4 * plan.parameters / 2


class TestCommand:
    def test_the_profile_loads_back_and_the_plan_stands_below(
        self, nothing_is_done: None, mini_profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = sorted(tmp_path.rglob("*"))
        assert main(["train", "--dry-run", "--profile", str(mini_profile), "--set", "train.steps=9"]) == 0
        printed = capsys.readouterr().out
        assert sorted(tmp_path.rglob("*")) == before
        again = tmp_path / "again.toml"
        again.write_text(printed)
        assert load_profile(again, env={}).profile == load_profile(mini_profile, ("train.steps=9",), env={}).profile
        plan = printed[printed.index("# train: trains") :].splitlines()
        assert all(line.startswith("# ") for line in plan)
        assert "# steps        9 optimizer steps, 1 evaluation" in plan
        assert any(line.startswith("# output") and "runs/<UTC time>-train-mini" in line for line in plan)
        assert "estimates" in plan[-1]

    @pytest.mark.parametrize("command", ["train", "attack", "pretrain"])
    def test_json(
        self,
        command: str,
        load_mini: Load,
        mini_profile: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        request: pytest.FixtureRequest,
    ) -> None:
        with create_or_resume("train", CommonOptions(runs=tmp_path / "runs"), load_mini()) as run:
            run.finish({})
        before = sorted(tmp_path.rglob("*"))
        request.getfixturevalue("nothing_is_done")
        assert main([command, "--dry-run", "--json", "--profile", str(mini_profile)]) == 0
        document = json.loads(capsys.readouterr().out)
        assert sorted(tmp_path.rglob("*")) == before
        (phase,) = document["plan"]["phases"]
        assert phase["name"] == {"attack": "lora"}.get(command, command)
        assert phase["trained_parameters"] == sum(phase["units"].values()) > 0
        assert phase["estimated_seconds"] > 0
        assert phase["estimated_memory_bytes"] > 0
        assert "estimates" in document["plan"]["caveat"]

    def test_a_resumed_run_names_its_folder(
        self, load_mini: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = create_or_resume("train", CommonOptions(runs=tmp_path / "runs"), load_mini())
        assert main(["train", "--dry-run", "--json", "--resume"]) == 0
        assert json.loads(capsys.readouterr().out)["plan"]["output"] == str(run.path)
        assert run.status == "interrupted"

    @pytest.mark.parametrize(
        ("override", "told"),
        [
            ("layers.units=unet.conv_inn", "did you mean 'unet.conv_in'?"),
            ("model.weights=/no/such/weights", "Weights /no/such/weights do not exist"),
        ],
    )
    def test_what_would_fail_fails_at_once(
        self, override: str, told: str, mini_profile: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["train", "--dry-run", "--profile", str(mini_profile), "--set", override]) == 2
        assert told in capsys.readouterr().err

    def test_no_trap_fails_at_once(
        self, tmp_path: Path, mini_profile: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bare = tmp_path / "bare.toml"
        text = mini_profile.read_text().replace("[traps.position]\n", "").replace("[traps.opacity]\n", "")
        bare.write_text(text)
        assert main(["train", "--dry-run", "--profile", str(bare)]) == 2
        assert "the profile has no [traps.KEY] table" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (7200, "2.0 h"), (1e7, "2,777.8 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert estimate.duration(seconds) == text


def test_many_units_are_summed_up_by_block() -> None:
    units = {"unet.conv_in": 1, "unet.down_blocks.0.nets.0": 2, "unet.down_blocks.0.nets.1": 3}
    units |= {"unet.down_blocks.10.nets.0": 4, "unet.mid_block.nets.0": 5, "unet.mid_block.attns.0.norm": 6, "conv": 7}
    blocks = {unit: place.block for unit in units if (place := LGM.place(unit)).block}
    assert estimate._by_block(units, blocks) == {
        "unet.conv_in": 1,
        "unet.down_blocks.0 (2)": 5,
        "unet.down_blocks.10": 4,
        "unet.mid_block (2)": 11,
        "conv": 7,
    }
