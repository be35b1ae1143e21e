"""The layers that ``[layers]`` chooses of a generator."""

from __future__ import annotations

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.adapters import configured_adapters


def layer_choice(model: GaussianGenerator, profile: Profile) -> tuple[tuple[str, ...], bool, frozenset[str]]:
    """Return the arguments of ``select_parameters`` that the profile means, in order.

    Raises:
        UsageError: The modules of the LoRA attack are to be frozen, and its settings do not fit the model.
    """
    table = profile.layers
    adapted = frozenset(configured_adapters(model, profile)) if table.freeze_lora_targets else frozenset()
    return table.units, table.freeze_head, adapted
