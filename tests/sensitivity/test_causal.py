"""Which units are taken out of the attack, and that no finished attack is run again."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from geotrap_cli.attacks import Attack
from geotrap_cli.errors import GeotrapError, NonFiniteError, UsageError
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import Evaluation, ObjectScore
from geotrap_cli.evaluation.validity import AttackHealth
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.sensitivity import causal
from geotrap_cli.sensitivity.causal import (
    CausalStudy,
    changeable_units,
    check_causal,
    choose_units,
    count_causal,
    short_bench,
)
from geotrap_cli.sensitivity.interventions import in_unit
from geotrap_cli.sensitivity.plan import AnalysedWeights
from geotrap_cli.training.workbench import Workbench, open_workbench

UNITS = ["unet.conv_in", "unet.norm_out", "conv"]
CHANGEABLE = frozenset({"unet.conv_in", "conv"})


@pytest.mark.parametrize(
    ("stated", "chosen"),
    [
        ("top:1", ["unet.conv_in"]),
        ("top:2", ["unet.conv_in", "conv"]),
        ("top:9", ["unet.conv_in", "conv"]),
        ("all", ["unet.conv_in", "conv"]),
        ("conv, unet.conv_in,conv", ["conv", "unet.conv_in"]),
    ],
)
def test_which_units_are_meant(stated: str, chosen: list[str]) -> None:
    check_causal(stated, UNITS, CHANGEABLE)
    assert choose_units(stated, UNITS, CHANGEABLE) == chosen
    assert count_causal(stated, CHANGEABLE) == len(chosen)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("unet.conv_im", "there is no unit 'unet.conv_im'.*Did you mean 'unet.conv_in'"),
        ("top:0", "there is no unit 'top:0'"),
        ("unet.norm_out", "the attack trains nothing in unet.norm_out"),
        (" ,", "names no unit"),
    ],
)
def test_what_would_not_act_is_refused(stated: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_causal(stated, UNITS, CHANGEABLE)


def test_freezing_is_for_what_the_attack_trains_and_reset_for_all(
    micro: LGM, load_mini: Callable[..., LoadedProfile]
) -> None:
    profile = load_mini("attack.lora.targets=qkv").profile
    assert changeable_units(micro, profile, "freeze") == {"unet.mid_block.attns.0.attn.qkv"}
    assert changeable_units(micro, profile, "reset") == set(micro.units())


class Runner:
    """Stands in for the runner of attacks: one step up, and one decibel less for a unit that is not as released."""

    ran: list[str]
    diverges = False

    def __init__(self, bench: Workbench, method: str, family: str, subject: str, attack: Attack, model: LGM) -> None:
        self.bench, self.method, self.subject, self.attack, self.model = bench, method, subject, attack, model

    def run(self, console: Console, quiet: bool) -> Cell:
        table = self.bench.profile.attack
        trained = self.attack.prepare(self.model)
        self.ran.append(
            ",".join(u for u in self.model.units() if not any(in_unit(self.model, name, u) for name in trained))
        )
        with torch.no_grad():
            for parameter in trained.values():
                parameter.add_(1.0)
        health = AttackHealth(
            zero_gradient_share=0.0, saturated_share=0.0, nonfinite=int(self.diverges), loss_decreased=True
        )
        evaluations = [CellEvaluation(step, [score(10.0 + step)], None) for step in (0, table.steps)]
        return Cell(self.method, self.subject, table.steps, table.seed, evaluations, health, 1.0, 1, 1.0, 0.5)


def score(value: float) -> ObjectScore:
    return ObjectScore("o", "g", "knife", {"foreground_psnr": value})


@pytest.fixture
def study(
    micro: LGM, make_micro: Callable[..., LGM], load_mini: Callable[..., LoadedProfile], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CausalStudy]:
    """Makes a study with an attack that trains everything, in a given folder."""
    Runner.ran, Runner.diverges = [], False
    monkeypatch.setattr(causal, "CellRunner", Runner)
    monkeypatch.setattr(causal, "open_model", lambda *_: make_micro())
    monkeypatch.setattr(causal, "prepare_views", lambda *_: None)
    bench = short_bench(open_workbench(load_mini("attack.methods=full").profile, torch.device("cpu"), micro), 5)
    weights = AnalysedWeights("shipped", "undefended", defended=False)
    return lambda action, folder: CausalStudy(bench, weights, action, folder, Console(file=StringIO()), quiet=True)


def test_reset_happens_before_the_attack_and_to_one_unit_alone(
    study: Callable[..., CausalStudy], make_micro: Callable[..., LGM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = dict(make_micro().named_parameters())
    changed: list[set[str]] = []
    plain = Runner.run

    def run(self: Runner, console: Console, quiet: bool) -> Cell:
        moved = {name for name, value in self.model.named_parameters() if not torch.equal(value, released[name])}
        changed.append({unit for unit, names in self.model.units().items() if moved & set(names)})
        return plain(self, console, quiet)

    monkeypatch.setattr(Runner, "run", run)
    study("reset", tmp_path).run(["conv", "unet.conv_in"])
    assert changed == [set(), {"conv"}, {"unet.conv_in"}]


@pytest.mark.parametrize("action", ["freeze", "reset"])
def test_one_attack_as_it_is_and_one_for_each_unit(
    study: Callable[..., CausalStudy], action: str, tmp_path: Path
) -> None:
    unfrozen, without = study(action, tmp_path).run(["conv", "unet.conv_in"])
    assert unfrozen.steps == 5
    assert list(without) == ["conv", "unet.conv_in"]
    assert Runner.ran == (["", "conv", "unet.conv_in"] if action == "freeze" else ["", "", ""])


def test_finished_attacks_are_not_run_again(study: Callable[..., CausalStudy], tmp_path: Path) -> None:
    first = study("freeze", tmp_path).run(["conv"])
    Runner.ran.clear()
    again = study("freeze", tmp_path).run(["conv", "unet.norm_out"])
    assert Runner.ran == ["unet.norm_out"]
    assert (again[0], again[1]["conv"]) == (first[0], first[1]["conv"])


def test_rolling_back_takes_one_attack_and_measures_each_unit_alone(
    study: Callable[..., CausalStudy], make_micro: Callable[..., LGM], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = dict(make_micro().named_parameters())
    back: list[set[str]] = []

    def measure(model: LGM, *_: Any, **__: Any) -> Evaluation:
        units = model.units()
        equal = {name for name, value in model.named_parameters() if torch.equal(value, released[name])}
        back.append({unit for unit, names in units.items() if equal.issuperset(names)})
        return Evaluation([score(7.0)])

    monkeypatch.setattr(causal, "evaluate", measure)
    unfrozen, without = study("rollback", tmp_path).run(["conv", "unet.conv_in"])
    assert Runner.ran == [""]
    assert back == [{"conv"}, {"unet.conv_in"}]
    assert [cell.evaluations[-1].target[0].metrics["foreground_psnr"] for cell in without.values()] == [7.0, 7.0]
    assert study("rollback", tmp_path).run(["conv"])[0] == unfrozen
    assert Runner.ran == [""]


def test_an_attack_that_diverges_as_it_is_ends_the_study(
    study: Callable[..., CausalStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Runner, "diverges", True)
    with pytest.raises(NonFiniteError, match="full diverged without any intervention"):
        study("freeze", tmp_path).run(["conv"])


def test_an_attack_that_moves_a_frozen_unit_is_refused(
    study: Callable[..., CausalStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Runner.run

    def run(self: Runner, console: Console, quiet: bool) -> Cell:
        cell = plain(self, console, quiet)
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.add_(1.0)
        return cell

    monkeypatch.setattr(Runner, "run", run)
    with pytest.raises(GeotrapError, match="moved conv, which was frozen"):
        study("freeze", tmp_path).run(["conv"])


def test_the_short_attack_is_the_first_of_the_profile(micro: LGM, load_mini: Callable[..., LoadedProfile]) -> None:
    profile = load_mini("attack.methods=full,lora", "attack.lora.rank=3").profile
    bench = short_bench(open_workbench(profile, torch.device("cpu"), micro), 7)
    table = bench.profile.attack
    assert (table.steps, table.evaluations, table.methods) == (7, 1, ("full",))
    assert table.options("lora")["rank"] == 3
    assert len(bench.splits.source_eval) == 1
