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
from geotrap_cli.models.generator import INPUT_CHANNELS, GaussianGenerator
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
        UsageError: The generator has no such module, or what it takes in is not ``[B·V, C, H, W]``.
    """
    return model.head_units[0] if name is None else _checked(model, [name], option, inputs=True)[0]


def find_layer(model: GaussianGenerator, name: str | None, option: str) -> str:
    """Return the module of that name, or the bottleneck where none is named.

    Raises:
        UsageError: The generator has no such module, or what it puts out is not ``[B·V, C, H, W]``.
    """
    return model.bottleneck if name is None else _checked(model, [name], option)[0]


def find_layers(model: GaussianGenerator, names: Sequence[str], option: str) -> list[str]:
    """Return the modules of these names, or one a resolution where none is named.

    Every list of modules is replaced by its members, which are what is called.

    Raises:
        UsageError: The generator has none of one of them, or what one puts out is not ``[B·V, C, H, W]``.
    """
    if not names:
        return list(model.stages)
    check_modules(model, names, option)
    return _checked(model, [member for name in names for member in _members(model, name)], option)


def _members(model: nn.Module, name: str) -> list[str]:
    module = model.get_submodule(name)
    if not isinstance(module, nn.ModuleList):
        return [name]
    # A block without attention has a list of places for it, with nothing there.
    members = [f"{name}.{index}" for index, member in enumerate(module) if member is not None]
    return members or [name]


def _checked(model: GaussianGenerator, names: list[str], option: str, inputs: bool = False) -> list[str]:
    """Return the names of modules of which a forward pass of one object sees features, ``[B·V, C, H, W]``."""
    check_modules(model, names, option)
    sides = model.num_views, INPUT_CHANNELS, model.input_size, model.input_size
    with torch.no_grad(), watch(model, names, inputs) as features:
        model(torch.zeros(1, *sides, device=model.device, dtype=model.dtype))
    does, hint = "takes in" if inputs else "puts out", f"Name another one, such as {model.bottleneck}"
    for name in names:
        found = features.by_name.get(name)
        if found is None:
            raise UsageError(f"{option}: the generator never calls '{name}'", hint)
        if found.ndim != 4:
            raise UsageError(f"{option}: what '{name}' {does} has {found.ndim} dimensions, a feature map has 4", hint)
    return names


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
