"""A family of generators as a plug-in of the group ``geotrap.models``: its name, its sizes, its published weights.

A family is light: it names its network's class without importing it, so that profiles and listings stay fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.plugins import load_plugin, plugin_keys, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from geotrap_cli.models.generator import GaussianGenerator

GROUP = "geotrap.models"
DEFAULT_FAMILY = "lgm"
Settings = dict[str, Any]
"""Constructor arguments of a network, as JSON has them."""


class GeneratorFamily(Protocol):
    """What ``[model]`` asks of a family; plug-ins of the group ``geotrap.models``.

    Attributes:
        key: Entry-point name, ``model.family``.
        summary: One line for listings.
        class_name: Name of the network's class, which the ``config.json`` of a model folder states.
        presets: Settings by name of the size. One is called ``nano`` and trains on a CPU.
        published: Those of which the authors published weights.
    """

    key: ClassVar[str]
    summary: ClassVar[str]
    class_name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]
    published: ClassVar[tuple[str, ...]]

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> Settings:
        """Return all settings, those that are not stated at their defaults.

        Raises:
            UsageError: For an unknown setting, or values that contradict one another.
        """
        ...

    @classmethod
    def network(cls) -> type[GaussianGenerator]:
        """Import the network's class."""
        ...

    @classmethod
    def official_files(cls, preset: str, old_rotation: bool) -> tuple[str, ...]:
        """Return what a size is called in its authors' repositories on the hub, the best first."""
        ...

    @classmethod
    def from_official(cls, tensors: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
        """Return the network's parameters out of the tensors of a published file.

        Raises:
            UsageError: A tensor that is no parameter contradicts the settings.
        """
        ...

    @classmethod
    def to_official(cls, tensors: Mapping[str, Tensor], settings: Settings) -> dict[str, Tensor]:
        """Return what a published file holds, out of the network's parameters.

        Raises:
            UsageError: The published layout cannot express the settings.
        """
        ...

    @classmethod
    def old_rotation(cls, name: str) -> bool | None:
        """Whether a file called ``name`` has LGM's old rotation normalisation; None where the family has only one."""
        ...


def load_family(key: str) -> type[GeneratorFamily]:
    """Return the family registered as ``key``.

    Raises:
        UsageError: There is none.
        GeotrapError: Its package is broken.
    """
    return load_plugin(GROUP, key)


def family_of_class(class_name: str) -> type[GeneratorFamily] | None:
    """Return the family whose network is called ``class_name``; None where no working plug-in has it."""
    for key in sorted(plugin_keys(GROUP), key=lambda key: key != DEFAULT_FAMILY):
        try:
            family = load_family(key)
        except GeotrapError:
            # The plug-in that is wanted may be another; `geotrap plugins` tells what is broken.
            continue
        if family.class_name == class_name:
            return family
    return None


def preset_settings(family: type[GeneratorFamily], name: str, **overrides: Any) -> Settings:
    """Return the settings of the size ``name``, with some values replaced.

    Raises:
        UsageError: For an unknown preset or setting, or values that contradict one another.
    """
    if name not in family.presets:
        what = f"There is no model preset {name!r} of {family.key}"
        raise UsageError(what, hint=suggestion(name, family.presets))
    return family.check({**family.presets[name], **overrides})
