"""The teacher's output is a function of the object alone."""

from __future__ import annotations

import torch

from geotrap_cli.gaussians import activate
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.teacher import Teacher

CPU = torch.device("cpu")


def test_an_output_is_the_same_bit_by_bit_in_every_batch() -> None:
    """Not so in one pass over a batch: the convolutions of nano round differently on another number of images."""
    torch.manual_seed(0)
    teacher = Teacher(LGM.from_preset("nano").eval(), "fp32", CPU)
    images = torch.randn(3, 4, 9, 64, 64)
    together = teacher(images).require_raw()
    for index in range(3):
        assert torch.equal(teacher(images[index : index + 1]).require_raw()[0], together[index])
    assert torch.equal(teacher(images[[2, 0]]).require_raw(), together[[2, 0]])


def test_gaussians_are_activated_full_precision_constants(micro: LGM) -> None:
    images = torch.randn(2, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    taught = Teacher(micro, "bf16", CPU)(images)
    assert taught.activated.shape == (2, 1024, 14)
    assert taught.activated.dtype == torch.float32
    assert torch.equal(taught.activated, activate(taught.require_raw()).activated)
    assert not taught.activated.requires_grad
    with torch.no_grad():
        plain = micro.forward_gaussians(images)
    assert torch.allclose(Teacher(micro, "fp32", CPU)(images).activated, plain.activated, atol=1e-5)
