"""Every defense trains: it moves the weights, ends in the same bits again, and so does a run that was killed."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from geotrap_cli.errors import UsageError
from geotrap_cli.plugins import plugin_keys
from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.defense import load_defense, make_optimizer
from geotrap_cli.training.defense_context import DefenseContext
from geotrap_cli.training.effort import EffortMeter
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.loop import LoopHooks, LoopSettings, Metrics, optimise
from geotrap_cli.training.schedules import make_schedule
from geotrap_cli.training.trap_set import measured_traps

STEPS = 2
SMALL = ("train.batch_size=1", "train.supervised_views=1", "train.warmup_steps=0", "attack.lora.rank=2")
OPTIONS = {
    # Random weights are beyond the default bound, where nothing pushes.
    "naive_unlearning": ("defense.naive_unlearning.cap=2.0",),
    "imma": ("defense.imma.restart_every=2",),
    "tar": ("defense.tar.safeguard=0.0", "defense.tar.inner_steps=2", "defense.tar.every=1"),
    "sophon": ("defense.sophon.inner_steps=1",),
    "mlac": ("defense.mlac.samples=64",),
    "repnoise": ("defense.repnoise.samples=16",),
    "condition_number": ("defense.condition_number.samples=64",),
}
TRAINED = sorted(set(plugin_keys("geotrap.defenses")) - {"none", "lox"})


@dataclass(frozen=True)
class Run:
    """Where a training ended, and its gradients a step: those that were counted, and those that it says it takes."""

    weights: dict[str, Tensor]
    counted: float
    stated: float


@pytest.fixture
def train(open_mini: Callable[..., Any]) -> Callable[..., Run]:
    """Trains by a defense, from the checkpoint in a folder where there is one."""

    def run(key: str, folder: Path, on_step: Callable[[int, Metrics], None] = lambda *_: None) -> Run:
        opened = open_mini(*SMALL, f"defense.method={key}", *OPTIONS.get(key, ()))
        profile, model, teacher = opened.bench.profile, opened.model, copy.deepcopy(opened.model)
        trained = select_parameters(model, *layer_choice(model, profile))
        defense = load_defense(profile)
        context = DefenseContext(opened.bench, model, teacher, trained, measured_traps(profile, defense))
        defense.prepare(context)
        objective, optimizer = defense.objective(context), make_optimizer(profile, model, trained)
        hooks = LoopHooks(on_step=on_step, backward=objective.backward)
        checkpointer = Checkpointer(folder, {**trained, **defense.state()}, optimizer)
        settings, schedule = LoopSettings(STEPS, 1.0, checkpoint_every=1), make_schedule("constant", STEPS, 0)
        meter = EffortMeter(profile.defense, profile.train.batch_size, folder / "none")
        with meter.watching(model):
            optimise(objective, list(trained.values()), optimizer, schedule, settings, hooks, checkpointer)
        counted = meter.so_far.gradient_evaluations(profile.train.batch_size) / STEPS
        return Run(dict(model.state_dict()), counted, defense.gradients)

    return run


@pytest.mark.parametrize("key", TRAINED)
def test_it_moves_the_weights_and_a_run_that_goes_on_ends_in_the_same_bits(
    train: Callable[..., Run], micro: Any, tmp_path: Path, key: str
) -> None:
    norms: list[float] = []

    def keep_first_checkpoint(step: int, metrics: Metrics) -> None:
        norms.append(metrics["gradient_norm"])
        if step == STEPS:
            shutil.copytree(tmp_path / "whole", tmp_path / "killed")

    run = train(key, tmp_path / "whole", keep_first_checkpoint)
    whole = run.weights
    before = micro.state_dict()
    moved = {name for name, value in whole.items() if not value.equal(before[name])}
    assert moved == {name for name in before if not name.startswith(("unet.conv_out.", "conv."))}
    assert all(torch.isfinite(value).all() for value in whole.values())
    assert norms[-1] > 0
    assert run.counted == run.stated
    # Another process would not draw from where this one's global generator is.
    torch.manual_seed(99)
    resumed = train(key, tmp_path / "killed").weights
    assert all(value.equal(resumed[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("key", "setting", "told"),
    [
        ("ntl", "defense.ntl.layer=unet.mid_blok", "did you mean 'unet.mid_block'"),
        ("repnoise", "defense.repnoise.layers=unet.up_block", "did you mean 'unet.up_blocks'"),
        ("condition_number", "defense.condition_number.head=unet.conv_ou", "did you mean 'unet.conv_out'"),
        ("mlac", "defense.mlac.head=unet.mid_block", "is no convolution"),
        ("lox", "defense.lox.rank=3", "there is no defense to extend"),
        ("gausslock", "defense.gausslock.energy_cap=1000.0", "defense.gausslock.energy_cap = 1000 never acts"),
        # Two of seven steps are the safeguard's, with two gradients each.
        ("tar", "defense.max_gradient_evaluations=4", "is spent within defense.tar.safeguard"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_runs(
    open_mini: Callable[..., Any], key: str, setting: str, told: str
) -> None:
    opened = open_mini(f"defense.method={key}", setting)
    profile = opened.bench.profile
    trained = select_parameters(opened.model, *layer_choice(opened.model, profile))
    defense = load_defense(profile)
    context = DefenseContext(opened.bench, opened.model, copy.deepcopy(opened.model), trained, None)
    with pytest.raises(UsageError) as caught:
        defense.prepare(context)
    assert told in str(caught.value).replace("Did you", "did you")


def test_what_minimises_traps_needs_some(load_mini: Callable[..., Any]) -> None:
    without = ("traps.position=false", "traps.opacity=false")
    for key in ("geotrap", "tar"):
        profile = load_mini(f"defense.method={key}", *without).profile
        with pytest.raises(UsageError, match=f"defense '{key}' minimises traps"):
            measured_traps(profile, load_defense(profile))
    profile = load_mini("defense.method=ntl", *without).profile
    assert measured_traps(profile, load_defense(profile)) is None
