"""Divided weights and whole ones, as far as one process can tell; the rest is in test_runs_of_several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geotrap_cli.models.divided import divide, is_divided, is_divided_module, joined, part_like, whole
from geotrap_cli.models.loading import load_generator, save_generator, weights_hash
from geotrap_cli.training.checkpoints import Checkpointer
from geotrap_cli.training.loop import gradient_norm
from geotrap_cli.training.muon import Muon


@pytest.fixture(scope="module")
def mesh() -> Iterator[Any]:
    """A process that is alone and divides its weights all the same."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


@pytest.fixture
def divided(make_micro: Callable[..., Any], mesh: Any) -> Any:
    model = make_micro()
    divide(model, mesh)
    return model


def images() -> torch.Tensor:
    return torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_plain_tensor_is_whole() -> None:
    tensor, value = torch.rand(2, 3), torch.rand(2, 3)
    assert not is_divided(tensor)
    assert whole(tensor) is tensor
    assert part_like(tensor, value) is value


def test_all_weights_are_divided_and_joined_again(make_micro: Callable[..., Any], divided: Any, tmp_path: Path) -> None:
    plain = make_micro()
    assert all(is_divided(parameter) for parameter in divided.parameters())
    assert all(is_divided_module(module) for module in divided.modules() if isinstance(module, divided.blocks))
    one = joined(divided)
    assert type(one) is type(plain)
    assert weights_hash(one) == weights_hash(plain)
    save_generator(one, tmp_path / "model")
    assert weights_hash(load_generator("nano", str(tmp_path / "model"))) == weights_hash(plain)


def test_a_joined_copy_is_trained_where_the_model_was(make_micro: Callable[..., Any], mesh: Any) -> None:
    model = make_micro().eval()
    model.unet.conv_in.requires_grad_(False)
    divide(model, mesh)
    one = joined(model)
    assert not one.training
    frozen = {name for name, parameter in one.named_parameters() if not parameter.requires_grad}
    assert frozen == {"unet.conv_in.weight", "unet.conv_in.bias"}


def test_other_values_stand_in(micro: Any) -> None:
    values = {name: torch.full_like(value, 2.0) for name, value in micro.named_parameters()}
    one = joined(micro, values)
    assert all(torch.equal(value, values[name]) for name, value in one.named_parameters())
    assert not torch.equal(micro.conv.weight, one.conv.weight)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_outputs_and_gradients_are_those_of_the_whole_model(
    make_micro: Callable[..., Any], divided: Any, checkpointing: bool
) -> None:
    plain = make_micro().train()
    divided.train()
    if checkpointing:
        divided.enable_gradient_checkpointing()
    for model in (plain, divided):
        model(images()).square().mean().backward()
    torch.testing.assert_close(divided(images()), plain(images()))
    assert gradient_norm(divided.parameters(), None) == pytest.approx(gradient_norm(plain.parameters(), None))
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(whole(divided.get_parameter(name).grad), parameter.grad)


def optimizer(model: nn.Module, kind: str) -> torch.optim.Optimizer:
    parameters = list(model.parameters())
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=1e-3, fused=True)
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim == 1]
    return Muon(matrices, others, matrix_lr=1e-2, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_checkpoint_of_divided_weights_is_one_of_whole_weights(
    make_micro: Callable[..., Any], mesh: Any, tmp_path: Path, kind: str
) -> None:
    def make(divides: bool) -> tuple[Any, Checkpointer]:
        model = make_micro().train()
        if divides:
            divide(model, mesh)
        return model, Checkpointer(tmp_path / "last", dict(model.named_parameters()), optimizer(model, kind))

    def step(model: Any, checkpointer: Checkpointer) -> None:
        checkpointer.optimizer.zero_grad()
        model(images()).square().mean().backward()
        checkpointer.optimizer.step()

    expected, reference = make(False)
    for _ in range(3):
        step(expected, reference)
    # Each goes on with what the other one left.
    for divides in (True, False, True):
        model, checkpointer = make(divides)
        done = checkpointer.restore()
        step(model, checkpointer)
        checkpointer.save(done + 1)
    assert done == 2
    for name, parameter in expected.named_parameters():
        torch.testing.assert_close(whole(model.get_parameter(name)), parameter, rtol=1e-5, atol=1e-6)
