"""What a generator's passes cost in arithmetic and memory, counted on the meta device: nothing is computed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from geotrap_cli.models.generator import INPUT_CHANNELS, GaussianGenerator
from geotrap_cli.models.lgm.unet import ResnetBlock
from geotrap_cli.training.precision import autocast

#: A timed pass through a layer says something about its speed from this duration and this much work on: a small one
#: on a busy machine takes as long as its threads wait for each other.
TIMED_SECONDS, TIMED_FLOPS = 0.04, 5e8
TIMED_PASSES = 3
#: Where the first pass takes this long, it is not repeated (seconds).
PATIENCE_SECONDS = 1.5
_RATES: dict[tuple[tuple[int, int, int, int], torch.device, str], float] = {}


@dataclass(frozen=True)
class ObjectCost:
    """Cost of one object in one training step; every figure grows linearly with the number of objects.

    Attributes:
        forward: Floating-point operations of the forward pass.
        backward: Those of the backward pass, with what gradient checkpointing computes again.
        activations: Bytes kept for the backward pass, in float32.
        heaviest: The residual block that takes most operations, as ``(in channels, out channels, groups, side)``.
    """

    forward: float
    backward: float
    activations: int
    heaviest: tuple[int, int, int, int]


def count_object(model: GaussianGenerator, checkpointing: bool) -> ObjectCost:
    """Count what one object costs; the gradient goes to the parameters of ``model`` that require it.

    Args:
        model: On the meta device.
        checkpointing: Whether gradient checkpointing is on in the run that is planned.
    """
    tally = _Tally({parameter.untyped_storage()._cdata for parameter in model.parameters()})
    images = torch.empty(1, model.num_views, INPUT_CHANNELS, model.input_size, model.input_size, device="meta")
    counter = FlopCounterMode(display=False)
    hooks = torch.autograd.graph.saved_tensors_hooks(tally.pack, lambda tensor: tensor)
    with _FusedAttention(), tally.watching(model), hooks, counter:
        raw = model(images)
    backward = FlopCounterMode(display=False)
    with backward:
        raw.sum().backward()
    forward = counter.get_total_flops()
    recomputed = forward if checkpointing else 0
    return ObjectCost(
        forward, backward.get_total_flops() + recomputed, tally.bytes(checkpointing), tally.heaviest(model, counter)
    )


class _FusedAttention(TorchFunctionMode):
    """Has attention counted as every real device does it; the meta device would keep a matrix of all token pairs."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func is F.scaled_dot_product_attention:
            return torch.ops.aten._scaled_dot_product_efficient_attention(*args, None, True)[0]
        return func(*args, **(kwargs or {}))


@dataclass
class _Tally:
    """Bytes that autograd keeps: outside of checkpointed modules, and inside each of them."""

    parameters: set[int]
    outside: dict[int, int] = field(default_factory=dict)
    inside: list[dict[int, int]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    shapes: dict[nn.Module, torch.Size] = field(default_factory=dict)
    _current: dict[int, int] | None = None

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.parameters:
            bucket = self.outside if self._current is None else self._current
            bucket[storage._cdata] = storage.nbytes()
        return tensor

    def bytes(self, checkpointing: bool) -> int:
        """What is kept at once; with checkpointing, the modules' inputs and the content of one module."""
        outside = sum(self.outside.values())
        sizes = [sum(bucket.values()) for bucket in self.inside]
        if checkpointing:
            return outside + sum(self.inputs) + max(sizes, default=0)
        return outside + sum(sizes)

    def heaviest(self, model: GaussianGenerator, counter: FlopCounterMode) -> tuple[int, int, int, int]:
        counts = {name.partition(".")[2]: sum(flops.values()) for name, flops in counter.get_flop_counts().items()}
        blocks = {name: module for name, module in model.named_modules() if module in self.shapes and _kernel(module)}
        block = blocks[max(blocks, key=lambda name: counts.get(name, 0))]
        first = _kernel(block)
        norm = next(part for part in block.modules() if isinstance(part, nn.GroupNorm))
        assert first is not None
        return first.in_channels, first.out_channels, norm.num_groups, self.shapes[block][-1]

    @contextlib.contextmanager
    def watching(self, model: GaussianGenerator) -> Iterator[None]:
        """Know which module what is saved belongs to."""
        handles = []
        for module in model.modules():
            if isinstance(module, model.blocks):
                handles += [module.register_forward_pre_hook(self._enter), module.register_forward_hook(self._leave)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._current = {}
        self.shapes[module] = inputs[0].shape
        self.inputs.append(inputs[0].untyped_storage().nbytes())

    def _leave(self, *_: Any) -> None:
        assert self._current is not None
        self.inside.append(self._current)
        self._current = None


def _kernel(module: nn.Module) -> nn.Conv2d | None:
    """The first convolution of a block that sees neighbouring pixels; None in an attention."""
    return next((part for part in module.modules() if isinstance(part, nn.Conv2d) and part.kernel_size[0] > 1), None)


def measure_rate(cost: ObjectCost, device: torch.device, precision: str) -> float:
    """Return floating-point operations a second that ``device`` does in the network's heaviest layer.

    The layer is run forward and backward on growing inputs until a pass takes long enough to be timed; once for all
    plans that a process makes.
    """
    key = (cost.heaviest, device, precision)
    if key not in _RATES:
        _RATES[key] = _time_layer(cost, device, precision)
    return _RATES[key]


def _time_layer(cost: ObjectCost, device: torch.device, precision: str) -> float:
    channels, out_channels, groups, side = cost.heaviest
    per_pixel = 3 * 2 * 9 * out_channels * (channels + out_channels)
    block = ResnetBlock(channels, out_channels, groups).to(device)
    rate = 0.0
    for count, crop in _growing(side):
        images = torch.randn(count, channels, crop, crop, device=device)
        # The first pass also pays for setting up, and others may share the machine: the best of a few counts.
        seconds = _time_pass(block, images, precision)
        for _ in range(TIMED_PASSES - 1 if seconds < PATIENCE_SECONDS else 0):
            seconds = min(seconds, _time_pass(block, images, precision))
        flops = per_pixel * count * crop**2
        rate = flops / seconds
        if seconds > PATIENCE_SECONDS or (seconds > TIMED_SECONDS and flops > TIMED_FLOPS):
            break
    return rate


def _growing(side: int) -> Iterator[tuple[int, int]]:
    """Yield numbers of images and their sides, each pair with at least twice the pixels of the one before."""
    crop = min(8, side)
    while crop < side:
        yield 1, crop
        crop *= 2
    yield from ((2**power, side) for power in range(7))


def _time_pass(block: nn.Module, images: Tensor, precision: str) -> float:
    began = time.perf_counter()
    with autocast(precision, images.device):
        out = block(images)
    out.float().sum().backward()
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - began
