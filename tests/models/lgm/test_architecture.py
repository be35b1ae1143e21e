from __future__ import annotations

import json
from typing import Any

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.architecture import Architecture
from geotrap_cli.models.lgm.presets import PRESETS, preset


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"splat_size": 16}, ["splat_size = 16", "32"]),
        ({"up_channels": [96, 96, 64, 32, 32]}, ["up_channels", "mirror"]),
        ({"input_size": 48, "splat_size": 24}, ["input_size = 48", "halved 5 times"]),
        ({"norm_groups": 32}, ["norm_groups = 32", "16 channels"]),
        ({"num_heads": 5}, ["num_heads = 5", "64 channels"]),
        ({"down_attention": [True]}, ["down_attention", "6 and 1"]),
        ({"up_channels": [96, 96, 64, 48, 32, 16, 16], "up_attention": [False] * 7}, ["up_channels", "mirror"]),
        ({"down_channels": []}, ["down_channels"]),
        ({"num_views": 0}, ["num_views", "0"]),
        ({"num_views": True}, ["num_views", "True"]),
        ({"mid_attention": 1}, ["mid_attention", "true or false"]),
        ({"down_channels": "16"}, ["down_channels", "'16'"]),
        ({"splat": 32}, ["no setting splat", "splat_size"]),
    ],
)
def test_contradictions_are_told_in_one_line(change: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        preset("nano", **change)
    assert all(name in str(caught.value) for name in names)
    assert "\n" not in str(caught.value)


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'huge'.*nano, tiny, small, big"):
        preset("huge")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    assert Architecture.parse(json.loads(json.dumps(PRESETS[name].asdict()))) == PRESETS[name]


def test_attention_can_be_left_out() -> None:
    quiet = preset("nano", down_attention=[False] * 6, mid_attention=False, up_attention=[False] * 5, num_heads=7)
    assert isinstance(quiet, Architecture)
