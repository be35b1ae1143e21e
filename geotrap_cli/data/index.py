"""What is known of a data set's objects beside their views: categories and groups."""

from __future__ import annotations

import json
from typing import Any

from geotrap_cli.data.files import DataPath, read_bytes
from geotrap_cli.errors import UsageError

_INDEX_HINT = 'Write a list of {"id": "<object>", "category": "<name>", "group": "<name>"}, or remove the file'
_CATEGORIES_HINT = 'Write {"<category>": ["<object>", ...]}, {"<object>": "<category>"}, or a list as in objects.json'


def read_index(path: DataPath) -> dict[str, dict[str, Any]]:
    """Read ``objects.json``, a list of ``{"id", "category", "group", ...}``, by id; an absent file is an empty one.

    Raises:
        UsageError: the file is not such a list.
    """
    if not path.exists():
        return {}
    try:
        return _by_id(json.loads(read_bytes(path)))
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: not an index of objects", hint=_INDEX_HINT) from error


def read_categories(path: DataPath) -> dict[str, str]:
    """Read the category of each object from one of three forms.

    They are ``{"chair": ["id", ...]}``, as LVIS annotations of Objaverse come, ``{"id": "chair"}``, and the list of an
    ``objects.json``.

    Raises:
        UsageError: the file cannot be read, has another form, or puts an object into two categories.
    """
    try:
        content = json.loads(read_bytes(path))
        if isinstance(content, list):
            return {id: str(entry["category"]) for id, entry in _by_id(content).items()}
        return _from_mapping(content, path)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path}: no categories of objects", hint=_CATEGORIES_HINT) from error


def _by_id(entries: Any) -> dict[str, dict[str, Any]]:
    return {str(entry["id"]): dict(entry) for entry in entries}


def _from_mapping(content: Any, path: DataPath) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in content.items():
        pairs = [(key, value)] if isinstance(value, str) else [(str(id), key) for id in value]
        for id, category in pairs:
            if found.setdefault(id, category) != category:
                raise UsageError(f"{path}: object {id!r} is in {found[id]!r} and in {category!r}", "Name it once")
    return found
