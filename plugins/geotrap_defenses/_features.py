"""Features inside a generator: what a module puts out, or takes in, during one forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from geotrap_cli.errors import UsageError
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.plugins import suggestion

Head = Annotated[
    str | None,
    Field(min_length=1, description="Module whose inputs are the features; none: the first of the generator's head."),
]
Layer = Annotated[
    str | None, Field(min_length=1, description="Module whose outputs are the features; none: the bottleneck.")
]


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


def find_head(model: GaussianGenerator, name: str | None, option: str) -> str:
    """Return the module of that name, or the first one after the last nonlinearity where none is named.

    Raises:
        UsageError: The generator has no such module.
    """
    return _find(model, name or model.head_units[0], option)


def find_layer(model: GaussianGenerator, name: str | None, option: str) -> str:
    """Return the module of that name, or the bottleneck where none is named.

    Raises:
        UsageError: The generator has no such module.
    """
    return _find(model, name or model.bottleneck, option)


def _find(model: GaussianGenerator, name: str, option: str) -> str:
    check_modules(model, [name], option)
    return name


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
