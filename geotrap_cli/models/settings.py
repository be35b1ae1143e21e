"""What the dataclasses that decide the shapes of a network share: from and to the arguments of its constructor."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from geotrap_cli.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclasses.dataclass(frozen=True)
class NetworkSettings:
    """The settings of a network, which its class checks; those with several values are tuples."""

    network_name: ClassVar[str]
    """What error messages call the network."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings from constructor arguments, lists allowed for tuples.

        Raises:
            UsageError: For an unknown field, or values that contradict one another.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(values.keys() - known):
            what = f"{cls.network_name} has no setting {', '.join(unknown)}"
            raise UsageError(what, hint=f"It has {', '.join(sorted(known))}.")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def asdict(self) -> dict[str, Any]:
        """Return the values as JSON-able constructor arguments."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
