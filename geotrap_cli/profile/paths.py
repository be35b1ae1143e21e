"""Relative paths of a profile start at the folder of the file that states them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geotrap_cli.models.hub import HubId
from geotrap_cli.profile.layers import Layers, Origin
from geotrap_cli.typed_paths import typed_path

PATH_KEYS = (
    "model.weights",
    "data.root",
    "data.cache",
    "attack.data.root",
    "attack.data.cache",
    "loss.lpips_trunk",
)
NAMED_WEIGHTS = ("shipped", "random")


def make_paths_absolute(layers: Layers) -> None:
    """Make the paths of the schema's own fields absolute, in place."""
    for dotted in PATH_KEYS:
        *tables, key = dotted.split(".")
        values: Any = layers.tables
        for table in tables:
            values = values.get(table) if isinstance(values, Mapping) else None
        stated = values.get(key) if isinstance(values, Mapping) else None
        if not isinstance(stated, str) or (dotted == "model.weights" and stated in NAMED_WEIGHTS):
            continue
        path = _absolute(stated, layers.origins[dotted])
        # An id on the hub looks like a path of two parts; what is there is a path.
        if dotted != "model.weights" or path.exists() or HubId.parse(stated) is None:
            values[key] = str(path)


def absolute_options(config: Any, options: Mapping[str, Any], dotted: str, layers: Layers) -> dict[str, Any]:
    """Return the options of a plug-in, the table ``dotted``, with the paths among them made absolute."""
    absolute = dict(options)
    for name, info in config.model_fields.items():
        origin = layers.origin_of(f"{dotted}.{name}")
        if origin and isinstance(absolute.get(name), str) and "Path" in str(info.annotation):
            absolute[name] = str(_absolute(absolute[name], origin))
    return absolute


def _absolute(stated: str, origin: Origin) -> Path:
    """Return a path as it is from the folder of its origin."""
    return origin.folder / typed_path(stated)
