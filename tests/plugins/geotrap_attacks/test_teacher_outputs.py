from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from geotrap_attacks.teacher_outputs import TeacherOutputsAttack, TeacherOutputsConfig, attribute_distance

from geotrap_cli.attacks import AttackContext, Phase
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator

Make = Callable[..., LGM]
MakeContext = Callable[..., AttackContext]


@pytest.fixture
def teacher(make_pico: Make, tmp_path: Path) -> Path:
    save_generator(make_pico(seed=8), tmp_path / "teacher")
    return tmp_path / "teacher"


def test_a_third_of_the_steps_imitates() -> None:
    phases = TeacherOutputsAttack().phases(1500)
    assert [(phase.name, phase.steps, phase.data) for phase in phases] == [
        ("imitate", 500, "target"),
        ("target", 1000, "target"),
    ]
    with pytest.raises(UsageError, match="imitate and attack"):
        TeacherOutputsAttack().phases(1)


def test_without_a_teacher_it_does_not_run(pico: LGM, context: AttackContext) -> None:
    assert TeacherOutputsAttack().missing() == "attack.teacher_outputs.teacher"
    with pytest.raises(
        UsageError, match=r"attack\.teacher_outputs\.teacher: this attack needs public weights"
    ) as error:
        TeacherOutputsAttack().edit(pico, context)
    assert "never the undefended weights" in str(error.value.hint)


@pytest.mark.parametrize("match", ["attributes", "renders"])
def test_imitation_brings_the_outputs_together(
    make_pico: Make,
    make_context: MakeContext,
    run_attack: Callable[..., list[float]],
    teacher: Path,
    match: str,
) -> None:
    config = TeacherOutputsConfig.model_validate(
        {"teacher": teacher, "match": match, "imitation_share": 0.99, "lr": 3e-3}
    )
    losses = run_attack(TeacherOutputsAttack(config), make_pico(), make_context(steps=10))
    assert min(losses[:-1]) < 0.8 * losses[0]


def test_the_teacher_itself_is_at_distance_zero_and_the_views_count_afterwards(
    make_pico: Make, context: AttackContext, teacher: Path
) -> None:
    attack = TeacherOutputsAttack(TeacherOutputsConfig(teacher=teacher))
    model = make_pico(seed=8)
    attack.edit(model, context)
    batch = context.target(0, 2)
    gaussians = model.forward_gaussians(batch.images)
    terms = attack.loss_terms(gaussians, batch, Phase("imitate", 1), context.reconstruction_loss)
    assert {name: term.item() for name, term in terms.items()} == {"teacher": 0.0}
    later = attack.loss_terms(gaussians, batch, Phase("target", 1), context.reconstruction_loss)
    expected = context.reconstruction_loss(gaussians, batch)
    assert {name: term.item() for name, term in later.items()} == {n: term.item() for n, term in expected.items()}


def test_a_rotation_and_its_negative_are_the_same(make_pico: Make, context: AttackContext) -> None:
    batch = make_pico().forward_gaussians(context.target(0, 1).images).detach()
    turned = batch.activated.clone()
    turned[..., CHANNELS["quats"]] *= -1
    assert float(attribute_distance(batch, GaussianBatch(turned))) == 0.0
    moved = batch.activated.clone()
    moved[..., CHANNELS["scales"]] *= 1.5
    assert float(attribute_distance(GaussianBatch(moved), batch)) == pytest.approx(0.5, rel=1e-4)


def test_another_grid_can_be_imitated_by_pictures_only(
    pico: LGM, make_pico: Make, context: AttackContext, tmp_path: Path
) -> None:
    coarse = make_pico(up_channels=(8,), up_attention=(False,), splat_size=4)
    save_generator(coarse, tmp_path / "coarse")
    with pytest.raises(UsageError, match="its splat_size is 4, that of the attacked generator 8"):
        TeacherOutputsAttack(TeacherOutputsConfig(teacher=tmp_path / "coarse")).edit(pico, context)
    attack = TeacherOutputsAttack(TeacherOutputsConfig(teacher=tmp_path / "coarse", match="renders"))
    attack.edit(pico, context)
    batch = context.target(0, 1)
    terms = attack.loss_terms(
        pico.forward_gaussians(batch.images), batch, Phase("imitate", 1), context.reconstruction_loss
    )
    assert set(terms) == {"rgb", "alpha"}
    assert all(bool(term.isfinite()) for term in terms.values())


def test_the_teacher_is_never_trained(make_pico: Make, context: AttackContext, teacher: Path) -> None:
    attack = TeacherOutputsAttack(TeacherOutputsConfig(teacher=teacher))
    model = make_pico()
    attack.edit(model, context)
    batch = context.target(0, 1)
    gaussians = attack.gaussians(model.forward_gaussians(batch.images))
    attack.loss_terms(gaussians, batch, Phase("imitate", 1), context.reconstruction_loss)["teacher"].backward()
    assert all(parameter.grad is None for parameter in attack._teacher.parameters())
    assert torch.isfinite(next(iter(model.parameters())).grad).all()  # type: ignore[arg-type]
