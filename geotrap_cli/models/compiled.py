"""Blocks of a generator that are compiled for training (``torch.compile``), in place and without other names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, cast

import torch
from torch import Tensor, nn

from geotrap_cli.errors import UsageError
from geotrap_cli.models.generator import GaussianGenerator

#: Most versions of a block's code, one for each shape: enough for every attack of a suite.
VERSIONS = 1 << 14


class CompiledBlock(nn.Module):
    """What compiled blocks have in common: hooks inside of one are not called while it trains, those on it are."""


def compile_blocks(model: GaussianGenerator) -> None:
    """Let the blocks of ``model`` run as compiled code while they train, in place.

    Parameters, names and files stay what they are. In evaluation, and without gradients, the code is the plain one, so
    that scores and what a teacher says do not depend on it.
    """
    import torch._dynamo

    # All blocks of a class share its code, and each shape compiles it anew; beyond the limit, code would run plainly.
    config: Any = torch._dynamo.config
    config.recompile_limit = config.accumulated_recompile_limit = VERSIONS
    for block in model.modules():
        if isinstance(block, model.blocks) and not isinstance(block, CompiledBlock):
            block.__class__ = _compiled(cast("Hashable", type(block)))


@functools.cache
def _compiled(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a class like ``kind`` that is compiled.

    A class, as neither a copy of a block nor one that is changed later must call the code with the weights of another.
    """
    plain: Callable[..., Tensor] = kind.forward
    # A training sees few shapes: code for each is faster than code for all.
    compiled = torch.compile(plain, dynamic=False)

    def forward(self: nn.Module, *inputs: Tensor) -> Tensor:
        return (compiled if self.training and torch.is_grad_enabled() else plain)(self, *inputs)

    return type(kind.__name__, (CompiledBlock, kind), {"forward": forward, "__module__": kind.__module__})


@functools.cache
def check_compiler(device: torch.device) -> None:
    """Check that code can be compiled for ``device``, by compiling a little.

    Raises:
        UsageError: It cannot: there is no compiler, or none for this machine.
    """
    tried = torch.ones(16, device=device, requires_grad=True)
    try:
        torch.compile(_little)(tried).backward()
    # Whatever stands in the way: a missing compiler, its headers, an interpreter that is not supported.
    except Exception as error:
        line = next(filter(None, (line.strip() for line in str(error).splitlines())), type(error).__name__)
        needed = "a C++ compiler" if device.type == "cpu" else "Triton and a C compiler"
        what = f"device.compile does not act on {device}: {line}"
        raise UsageError(what, f"Install {needed}, or leave device.compile out") from error


def _little(x: Tensor) -> Tensor:
    return (x.sin() * x).sum()
