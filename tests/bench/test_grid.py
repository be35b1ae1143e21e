"""A grid says everything that is wrong with it at once, and what was probably meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from geotrap_cli.bench.grid import load_grid
from geotrap_cli.bench.plan import plan_bench
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.training.defense import load_defense
from geotrap_cli.training.robust.cost import extra_passes

Write = Callable[..., Path]
QUICK = Path(__file__).parents[2] / "benchmarks" / "bench" / "quick.toml"


def test_every_problem_at_once_with_the_closest_key(write_grid: Write) -> None:
    text = """
seed = [1]
seeds = ["a"]
suite = "quick"
[defenses.none]
sett = []
[ray]
gpu = 1.0
"""
    with pytest.raises(UsageError) as caught:
        load_grid(write_grid(text=text))
    message = str(caught.value)
    assert "4 problems" in message
    assert "seed: unknown key; did you mean 'seeds'?" in message
    assert "did you mean 'defenses.none.set'?" in message
    assert "did you mean 'ray.gpus'?" in message
    assert "seeds.0" in message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('[defenses.lox]\nweights_of = { defended = "stron" }\n', "did you mean 'strong'"),
        ('[defenses.lox]\nweights_of = { defended = "lox" }\n', "waits for its own weights"),
        (
            '[defenses.a]\nmethod = "lox"\nweights_of = { defended = "strong", undefended = "b" }\n'
            '[defenses.b]\nmethod = "lox"\nweights_of = { defended = "strong", undefended = "a" }\n',
            "waits for its own weights",
        ),
        (
            '[defenses.lox]\nweights_of = { defendd = "strong" }\n',
            "takes no weights as that option. Did you mean 'defended'",
        ),
        ('[defenses.lox]\nweights_of = { rank = "strong" }\n', "takes no weights as that option"),
        ('[defenses.seam]\nweights_of = { lr = "strong" }\n', "takes none at all"),
        ('[defenses.seam]\nset = ["train.seed=3"]\n', "name the seeds in `seeds`"),
        ('[defenses.seam]\nset = ["defense.method=tar"]\n', "name it in `method`"),
        ("[defenses.gaussloc]\n", "gausslock"),
        ('[defenses.seam]\nset = ["train.stepz=3"]\n', "did you mean 'train.steps'"),
        ('[defenses.seam]\nset = ["train.steps"]\n', "no key and value"),
        ("[profiles.pos_scal]\n", "pos_scale"),
        ('[defenses.seam]\nset = ["attack.steps=3"]\n', "attack.steps is nothing of a defense"),
        ('[defenses.seam]\nset = ["eval.source_tolerance_db=9.0"]\n', "the same for all of them"),
        ('[defenses.seam]\nset = ["data.seed=3"]\n', "Move it to `set` of the grid"),
    ],
)
def test_what_the_types_do_not_tell(write_grid: Write, more: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_bench(load_grid(write_grid(more)), CommonOptions())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[defenses.none]\n", "neither a suite nor an attack"),
        ('attacks = ["lora", "lora"]\n[defenses.none]\n', "lora is named twice"),
        ('attacks = ["lora"]\nseeds = []\n[defenses.none]\n', "seeds: there is none"),
        ('attacks = ["lora"]\nseeds = [1, 1]\n[defenses.none]\n', "1 is named twice"),
        ('attacks = ["lora"]\n', "defenses: is required"),
        ('suite = "quik"\n[defenses.none]\n', "Did you mean 'quick'"),
        ("attacks = [", "is not TOML"),
    ],
)
def test_grids_without_sense_are_refused(write_grid: Write, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_bench(load_grid(write_grid(text=text)), CommonOptions())


def test_one_wrong_value_of_the_profile_is_told_once(write_grid: Write) -> None:
    path = write_grid()
    path.write_text(path.read_text().replace("attack.steps=1", "attack.steps=0"))
    with pytest.raises(UsageError) as caught:
        plan_bench(load_grid(path), CommonOptions())
    assert str(caught.value).count("attack.steps") == 1


def test_jobs_are_the_product_and_wait_for_what_they_use(write_grid: Write) -> None:
    more = '[defenses.lox]\nweights_of = { defended = "strong" }\n'
    path = write_grid(more)
    path.write_text("seeds = [3, 5]\n" + path.read_text())
    plan = plan_bench(load_grid(path), CommonOptions(runs=Path("somewhere")))
    by_name = {job.name: job for job in plan.jobs}
    assert len(by_name) == len(plan.jobs) == 2 * 3 * (1 + 2)
    assert {job.seed for job in plan.jobs} == {3, 5}
    for job in plan.jobs:
        assert (job.loaded.profile.train.seed, job.loaded.profile.attack.seed) == (job.seed, job.seed)
        assert job.root == Path("somewhere")
    attack = by_name["mini, strong, seed 3: lora"]
    assert attack.needs == ("mini, strong, seed 3: defense",)
    assert attack.after == ("mini, none, seed 3: lora",)
    assert by_name["mini, lox, seed 5: defense"].needs == ("mini, strong, seed 5: defense",)
    assert attack.loaded.profile.attack.methods == ("lora",)
    assert attack.loaded.profile.train.lr == 0.01


def test_names_tell_apart_what_acts_and_nothing_else(write_grid: Write, mini_profile: Path) -> None:
    def names(change: str, beside: str = "train.lr=0.01") -> dict[str, str]:
        path = write_grid()
        path.write_text(path.read_text().replace(f'"{beside}"', f'"{beside}", "{change}"'))
        plan = plan_bench(load_grid(path), CommonOptions())
        return {job.name: job.loaded.name for job in plan.jobs if job.entry[1] == "strong"}

    before, quiet = names("train.log_every=1"), names("train.log_every=5")
    assert before == quiet
    trained, attacked = names("train.weight_decay=0.5"), names("attack.lora.alpha=7.0", "attack.lora.rank=2")
    lora, sgd = "mini, strong, seed 0: lora", "mini, strong, seed 0: sgd"
    assert not set(trained.values()) & set(before.values())
    assert attacked[sgd] == before[sgd]
    assert attacked[lora] != before[lora]


def test_the_budget_of_the_other_grid_is_that_of_each_defense() -> None:
    """Steps times gradients of a step, within a step of what the grid allows."""
    loaded = load_grid(QUICK.with_name("equal_budget.toml"))
    some = {label: entry for label, entry in loaded.grid.defenses.items() if label not in ("none", "lox", "noise")}
    grid = loaded.grid.model_copy(update={"defenses": some})
    for (_, label), found in plan_bench(dataclasses.replace(loaded, grid=grid), CommonOptions()).profiles.items():
        profile = found.profile
        gradients = load_defense(profile).gradients + extra_passes(profile.robust).backward
        most = profile.defense.max_gradient_evaluations
        assert most is not None and most - 2 * gradients < gradients * profile.train.steps <= most + gradients, label


def test_the_shipped_grid_has_every_built_in_defense_and_the_attacks_of_quick() -> None:
    from geotrap_cli.plugins import plugin_keys
    from geotrap_cli.suites import QUICK as ATTACKS

    loaded = load_grid(QUICK)
    assert set(loaded.grid.defenses) == set(plugin_keys("geotrap.defenses"))
    assert loaded.grid.suite == "quick"
    some = {label: loaded.grid.defenses[label] for label in ("geotrap", "lox")}
    plan = plan_bench(
        dataclasses.replace(loaded, grid=loaded.grid.model_copy(update={"defenses": some})), CommonOptions()
    )
    assert len(plan.jobs) == len(some) * (1 + len(ATTACKS))
