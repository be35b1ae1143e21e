"""Public weights that an attacker may have beside the released ones: a teacher, or a partner to merge with."""

from __future__ import annotations

from pathlib import Path

import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.models.family import DEFAULT_FAMILY
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import load_generator


def load_public(
    path: Path | None, option: str, device: torch.device | str, family: str = DEFAULT_FAMILY
) -> GaussianGenerator:
    """Load a public generator: a diffusers folder, or an official .safetensors file, whose preset is ``big``.

    Args:
        path: Where it is; None where the profile names none.
        option: The option that names it, for the error.
        device: Where the model goes.
        family: The family of an official file.

    Raises:
        UsageError: None is named, or the weights cannot be read.
    """
    if path is None:
        raise UsageError(
            f"{option}: this attack needs public weights and none are named",
            f"Add --set {option}=FOLDER, a generator that everyone has; never the undefended weights",
        )
    size = "big" if family == DEFAULT_FAMILY else "nano"
    return load_generator(size, str(path), device, family).requires_grad_(False)


def matching_public(path: Path | None, option: str, model: GaussianGenerator) -> dict[str, torch.Tensor]:
    """The state of public weights that fit ``model`` tensor by tensor.

    Raises:
        UsageError: None are named, they cannot be read, or they are of another architecture.
    """
    public = load_public(path, option, model.device, model.family)
    if model.config.get("fused_head"):
        public.fuse_head()
    state = public.state_dict()
    own = {name: value.shape for name, value in model.state_dict().items()}
    if own != {name: value.shape for name, value in state.items()}:
        raise UsageError(f"{option}: {path} has another architecture than the attacked generator", "Name one that fits")
    return state


def check_same_input(teacher: GaussianGenerator, model: GaussianGenerator, option: str) -> None:
    """Check that two generators take the same input views.

    Raises:
        UsageError: They do not.
    """
    _check_same(teacher, model, option, ("input_size", "num_views"))


def check_same_grid(teacher: GaussianGenerator, model: GaussianGenerator, option: str) -> None:
    """Check that the Gaussians of two generators correspond one by one.

    Raises:
        UsageError: They take other input views or have another splat grid.
    """
    _check_same(teacher, model, option, ("input_size", "num_views", "splat_size"))


def _check_same(teacher: GaussianGenerator, model: GaussianGenerator, option: str, settings: tuple[str, ...]) -> None:
    for name in settings:
        own, other = getattr(model, name), getattr(teacher, name)
        if own != other:
            what = f"{option}: its {name} is {other}, that of the attacked generator {own}"
            raise UsageError(what, "Name a generator of the same size")
