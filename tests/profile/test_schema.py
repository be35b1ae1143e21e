"""The schema: every field explained, nothing loose, nothing changeable."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from geotrap_cli.profile.schema import Profile, flatten

TABLES = [info.annotation for info in Profile.model_fields.values()]


def test_every_field_of_every_table_is_described() -> None:
    for name, info in Profile.model_fields.items():
        assert info.description, name
        for field, field_info in getattr(info.annotation, "model_fields", {}).items():
            assert field_info.description, f"{name}.{field}"
            assert field_info.description.endswith("."), f"{name}.{field}"


def test_counts_of_the_defaults_name_their_unit() -> None:
    # A bare number in a profile must not need the source code to be understood.
    for table in TABLES:
        for field, info in getattr(table, "model_fields", {}).items():
            if isinstance(info.default, int) and not isinstance(info.default, bool) and field not in ("seed", "power"):
                assert "(" in str(info.description), field


def test_profile_is_immutable() -> None:
    profile = Profile()
    with pytest.raises(ValidationError):
        profile.train.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("train", "steps", "10"),
        ("train", "steps", 1.5),
        ("train", "steps", True),
        ("train", "lr", "1e-3"),
        ("train", "lr", float("nan")),
        ("train", "lr", float("inf")),
        ("train", "lr", 0.0),
        ("train", "betas", [0.9, 1.0]),
        ("train", "betas", [0.9]),
        ("train", "source_ratio", 1.01),
        ("model", "fuse_head", 1),
        ("data", "target", []),
        ("data", "target", [3]),
        ("retain", "power", 3),
        ("eval", "bootstrap", 1),
        ("robust", "noise", 0.1),
    ],
)
def test_wrong_values_are_refused(table: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Profile.model_validate({table: {key: value}})


def test_whole_number_is_a_fine_float() -> None:
    assert Profile.model_validate({"retain": {"weight": 3}}).retain.weight == 3.0


def test_names_may_be_one_string_with_commas() -> None:
    assert Profile.model_validate({"data": {"target": "sword, axe"}}).data.target == ("sword", "axe")


def test_flatten_keeps_order_and_depth() -> None:
    assert list(flatten({"a": {"b": 1, "c": {"d": [2]}}, "e": 3}).items()) == [("a.b", 1), ("a.c.d", [2]), ("e", 3)]
