"""Weights that are divided over processes (PyTorch's FSDP2), and whole ones: each made from the other.

A divided tensor looks whole, and arithmetic on it is done in parts. What writes it, hashes it or looks at all of it at
once needs it in one piece.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from geotrap_cli.models.tensors import fill

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

    from geotrap_cli.models.generator import GaussianGenerator


def is_divided(tensor: Tensor) -> bool:
    """Whether the processes hold parts of a tensor."""
    # By what it can do: to import its class takes long, and one process has none.
    return hasattr(tensor, "full_tensor")


def is_divided_module(module: nn.Module) -> bool:
    """Whether a module gathers its weights by itself before it is called."""
    return hasattr(module, "unshard")


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in one piece, itself where it is not divided; where it is, every process has to ask."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def part_like(tensor: Tensor, value: Tensor) -> Tensor:
    """Return ``value``, which every process has whole, divided as ``tensor`` of the same shape is; nothing is sent."""
    if not is_divided(tensor):
        return value
    from torch.distributed.tensor import distribute_tensor

    own = value.to(tensor.device)
    return distribute_tensor(own, tensor.device_mesh, tensor.placements, src_data_rank=None)  # type: ignore[attr-defined]


def divide(model: GaussianGenerator, mesh: DeviceMesh) -> None:
    """Divide the weights of ``model`` over the processes of ``mesh``, in place, as equal parts of their first axis.

    Block by block: before a block is called, forward or backward, its weights are gathered, and freed after it; its
    gradients are averaged and divided as they come. Parameters become others of the same names.

    Args:
        model: With the same weights in every process, and ``requires_grad`` on what is trained.
        mesh: The processes, in a row.
    """
    from torch.distributed.fsdp import fully_shard

    blocks: list[nn.Module] = [module for module in model.modules() if isinstance(module, model.blocks)]
    # From the inside out; what is in no block belongs to the model itself.
    blocks = [*reversed(blocks), model]
    for module in blocks:
        # Of the model, too: weights that stay after an evaluation would outlive a change of their parts.
        part = fully_shard(module, mesh=mesh, reshard_after_forward=True)
        if mesh.device_type == "cpu":
            # Gloo adds and cannot average: the sum is divided afterwards.
            part.set_force_sum_reduction_for_comms(True)


@torch.no_grad()
def joined(
    model: GaussianGenerator, values: Mapping[str, Tensor] | None = None, device: torch.device | str | None = None
) -> GaussianGenerator:
    """Return a whole copy of a divided model; every process has to ask.

    Args:
        model: Without adapters.
        values: Stand in for its own weights, by name; divided as they are.
        device: Where to; None: where they are.
    """
    given = {**model.state_dict(), **(values or {})}
    # One by one, so that two copies are never in the memory of a GPU at once if ``device`` is another.
    state = {name: whole(value.detach()).to(device or value.device) for name, value in given.items()}
    with torch.device("meta"):
        copy: GaussianGenerator = _undivided_class(model).from_config(dict(model.config))
    fill(copy, state, "The divided model")
    for name, parameter in copy.named_parameters():
        parameter.requires_grad_(model.get_parameter(name).requires_grad)
    return copy.train(model.training)


def _undivided_class(model: GaussianGenerator) -> type[GaussianGenerator]:
    """Return the class that a model had before it was divided, which its config names."""
    return next(kind for kind in type(model).__mro__ if not hasattr(kind, "unshard"))
