"""Opening a data set by the name of its kind."""

from __future__ import annotations

from typing import Any

import pytest

from geotrap_cli.data.blender import BlenderDataset
from geotrap_cli.data.loading import open_dataset
from geotrap_cli.errors import UsageError


def test_a_built_in_kind_opens_like_any_plug_in(balls: Any) -> None:
    dataset = open_dataset("blender", {"root": str(balls.root)})
    assert isinstance(dataset, BlenderDataset)
    assert len(dataset.records) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [({}, "root: Field required"), ({"root": "x", "size": 3}, "size: Extra inputs"), ({"root": 3}, "root: ")],
)
def test_wrong_options_are_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_dataset("blender", options)
    assert caught.value.message.startswith(f"data set 'blender': {message}")
    assert "Its options are: root, categories, cache_mib, fingerprint" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(UsageError):
        open_dataset("blonder", {})
