from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from geotrap_cli.bench.digest import attack_digest, defense_digest, digests_of, run_name
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training.cell_store import content_digest

Load = Callable[..., LoadedProfile]


@pytest.mark.parametrize("change", ["train.lr=0.5", "layers.freeze_lora_targets=true"])
def test_what_acts_on_weights_makes_another_defense(load_mini: Load, change: str) -> None:
    assert defense_digest(load_mini(change).profile, {}) != defense_digest(load_mini().profile, {})
    assert defense_digest(load_mini().profile, {"defended": "0"}) != defense_digest(load_mini().profile, {})


@pytest.mark.parametrize(
    ("reads", "overrides"),
    [
        (True, ["layers.freeze_lora_targets=true"]),
        (True, ["robust.unrolled.kinds=lora,full"]),
        (True, ["defense.method=imma"]),
        (True, ["defense.method=sophon"]),
        (True, ["defense.method=tar"]),
        (False, []),
        (False, ["robust.unrolled.kinds=full"]),
        (False, ["defense.method=sophon", "defense.sophon.kinds=full"]),
        (False, ["defense.method=imma", "defense.imma.kind=full"]),
        (False, ["defense.method=grad_diff"]),
    ],
)
def test_an_adapter_acts_on_the_defenses_that_look_at_it(load_mini: Load, reads: bool, overrides: list[str]) -> None:
    plain, adapted = (load_mini(*overrides, *more).profile for more in ((), ("attack.lora.rank=3",)))
    assert (defense_digest(plain, {}) != defense_digest(adapted, {})) == reads


@pytest.mark.parametrize("change", ["attack.steps=9", "eval.objects=2", "train.log_every=3", "data.workers=2"])
def test_what_does_not_act_on_weights_leaves_the_defense(load_mini: Load, change: str) -> None:
    assert defense_digest(load_mini(change).profile, {}) == defense_digest(load_mini().profile, {})


def test_options_of_other_attacks_leave_an_attack(load_mini: Load) -> None:
    changed = load_mini("attack.lora.rank=3").profile
    assert attack_digest(changed, "full") == attack_digest(load_mini().profile, "full")
    assert attack_digest(changed, "lora") != attack_digest(load_mini().profile, "lora")


def test_the_search_of_an_attack_acts_on_it_where_there_is_one(load_mini: Load) -> None:
    found = {attack_digest(load_mini(f"attack.tune.trials={trials}").profile, "full") for trials in (0, 2, 3)}
    assert len(found) == 3
    idle = load_mini("attack.tune.fractions=[0.5]").profile
    assert attack_digest(idle, "full") == attack_digest(load_mini().profile, "full")


def test_other_weights_under_the_same_path_make_another_job(load_mini: Load, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    found = set()
    for text in ("one", "two"):
        weights.write_text(text)
        content_digest.cache_clear()
        profile = load_mini(f"model.weights={weights}").profile
        found |= {defense_digest(profile, {}), attack_digest(profile, "full")}
    assert len(found) == 4


def test_a_name_ends_in_both_digests(load_mini: Load) -> None:
    profile = load_mini().profile
    digests = defense_digest(profile, {}), attack_digest(profile, "full")
    assert digests_of(run_name("a-label", *digests)) == digests
    assert digests_of("a-label") is None
