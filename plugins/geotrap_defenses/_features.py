"""Features inside a generator: what a module puts out, or takes in, during one forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from geotrap_cli.errors import UsageError
from geotrap_cli.plugins import suggestion


@dataclass
class Features:
    """What was seen of each module, ``[B·V, C, H, W]``, by its name.

    Attributes:
        by_name: The features of the newest forward pass, with a graph where it has one.
    """

    by_name: dict[str, Tensor] = field(default_factory=dict)


def check_modules(model: nn.Module, names: Sequence[str], option: str) -> None:
    """Check that a generator has modules of these names.

    Raises:
        UsageError: It has none of one of them.
    """
    known = {name for name, _ in model.named_modules() if name}
    for name in names:
        if name not in known:
            raise UsageError(f"{option}: the generator has no module '{name}'", suggestion(name, known))


@contextlib.contextmanager
def watch(model: nn.Module, names: Sequence[str], inputs: bool = False) -> Iterator[Features]:
    """Keep what the named modules put out (or take in) in the forward passes inside; the hooks go when it ends."""
    features = Features()

    def keep(name: str, value: Tensor | tuple[Tensor, ...]) -> None:
        # A block of the way down puts out its features and its skips.
        features.by_name[name] = value if isinstance(value, Tensor) else value[0]

    def hook(name: str) -> RemovableHandle:
        module = model.get_submodule(name)
        if inputs:
            return module.register_forward_pre_hook(lambda _, given: keep(name, given))
        return module.register_forward_hook(lambda *call: keep(name, call[2]))

    handles = [hook(name) for name in names]
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def sample_rows(features: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return ``count`` random pixels of all views as rows ``[count, C]``, all of them where there are fewer."""
    rows = features.movedim(1, -1).flatten(0, -2)
    if len(rows) <= count:
        return rows
    return rows[torch.randperm(len(rows), generator=generator, device=rows.device)[:count]]


def expand_modules(model: nn.Module, names: Sequence[str], option: str) -> list[str]:
    """Return the names with every list of modules replaced by its members, which are what is called.

    Raises:
        UsageError: The generator has none of one of them.
    """
    check_modules(model, names, option)
    expanded: list[str] = []
    for name in names:
        module = model.get_submodule(name)
        inner = [f"{name}.{index}" for index in range(len(module))] if isinstance(module, nn.ModuleList) else [name]
        expanded.extend(inner)
    return expanded
