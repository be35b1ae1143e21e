"""From the name of a kind of data set and its options to an open data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from geotrap_cli.data.base import ObjectDataset
from geotrap_cli.data.posed import PosedFiles
from geotrap_cli.data.validation import first_problem
from geotrap_cli.errors import UsageError
from geotrap_cli.plugins import load_plugin


def open_dataset(kind: str, config: Mapping[str, Any], failures: dict[str, UsageError] | None = None) -> ObjectDataset:
    """Open the data set plug-in registered as ``kind`` with the options ``config``.

    Args:
        kind: Key of the plug-in.
        config: Its options.
        failures: Where given, takes what is wrong with single objects, if the reader can go on without them.

    Raises:
        UsageError: no such kind, an option it does not take or that has a wrong value, or unreadable data.
    """
    plugin: Any = load_plugin("geotrap.datasets", kind)
    try:
        settings = plugin.Config(**config)
    except ValidationError as error:
        options = ", ".join(plugin.Config.model_fields)
        raise UsageError(f"data set {kind!r}: {first_problem(error)}", hint=f"Its options are: {options}") from error
    if failures is not None and issubclass(plugin, PosedFiles):
        return plugin(settings, failures)
    return plugin(settings)
