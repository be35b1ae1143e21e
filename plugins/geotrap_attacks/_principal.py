"""Starting adapters from the weights themselves, on linear layers and convolutions; PEFT does linear layers only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn

#: Splits ``[out, in]`` weights into factors ``B [out, k]`` and ``A [k, in]`` of the largest possible k.
Factors = Callable[[Tensor], tuple[Tensor, Tensor]]


def principal_factors(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the singular directions, largest first, with the root of its value on each side (PiSSA, Meng 2024)."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    return left * values.sqrt(), values.sqrt()[:, None] * right


def orthonormal_factors(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the QR decomposition (OLoRA, Buyukakyuz 2024)."""
    left, right = torch.linalg.qr(weight)
    return left, right


@torch.no_grad()
def start_from_weights(model: nn.Module, adapter: str, factors: Factors) -> None:
    """Move the leading factors of every adapted weight into its adapter, so that the function stays as it is.

    A factor beyond what the weight has stays zero. Weights without memory are left alone.
    """
    for layer in _adapted(model):
        weight = layer.get_base_layer().weight
        if weight.is_meta:
            continue
        down, up = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
        # Where PEFT adds scaling·B·A, both factors carry the root of it.
        root = layer.scaling[adapter] ** 0.5
        left, right = factors(weight.flatten(1).float())
        rank = min(down.shape[0], right.shape[0])
        down.zero_()
        up.zero_()
        down.flatten(1)[:rank] = right[:rank] / root
        up.flatten(1)[:, :rank] = left[:, :rank] / root
        weight -= (left[:, :rank] @ right[:rank]).to(weight.dtype).view_as(weight)


def _adapted(model: nn.Module) -> Iterator[LoraLayer]:
    return (module for module in model.modules() if isinstance(module, LoraLayer))
