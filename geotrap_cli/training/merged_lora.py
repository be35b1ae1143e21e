"""LoRA layers computed through one merged weight: for small layers, one pass with W + s·B·A is faster than three."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer


#: Most output channels for each rank for which the gradient of a whole weight is cheaper than two more convolutions.
WIDEST = 8


def merge_in_forward(model: nn.Module) -> int:
    """Let small plain LoRA layers of ``model`` multiply with W + s·B·A; same function and gradients up to rounding.

    The gradient of W + s·B·A, as large as W, exists while a layer's backward pass takes place.

    Returns:
        The number of layers that were changed; wide ones, and those with dropout, DoRA or several adapters, stay.
    """
    from peft.tuners.lora import LoraLayer

    found = [module for module in model.modules() if isinstance(module, LoraLayer) and _is_plain(module)]
    for layer in found:
        layer.forward = _merged(layer)
    return len(found)


def _is_plain(layer: LoraLayer) -> bool:
    """Whether a layer is a small linear map or convolution with one adapter that only adds B·A."""
    base = layer.get_base_layer()
    if base.weight.shape[0] > WIDEST * max(layer.r.values()):
        return False
    plain = isinstance(base, nn.Linear) or (isinstance(base, nn.Conv2d) and base.padding_mode == "zeros")
    alone = len(layer.lora_A) == 1 and not layer.lora_variant and not any(layer.lora_bias.values())
    return plain and alone and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())


def _merged(layer: LoraLayer) -> Callable[[Tensor], Tensor]:
    (adapter,) = layer.lora_A
    original, base = layer.forward, layer.get_base_layer()

    def forward(x: Tensor) -> Tensor:
        if layer.disable_adapters or layer.merged:
            result: Tensor = original(x)
            return result
        weight = base.weight + layer.get_delta_weight(adapter)
        if isinstance(base, nn.Conv2d):
            return F.conv2d(x, weight, base.bias, base.stride, base.padding, base.dilation, base.groups)
        return F.linear(x, weight, base.bias)

    return forward
