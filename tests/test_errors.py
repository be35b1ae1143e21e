from __future__ import annotations

import pytest

from geotrap_cli import errors


def test_an_error_reads_as_one_sentence_after_another() -> None:
    assert str(errors.GeotrapError("disk full", hint="Free some space")) == "disk full. Free some space"
    assert str(errors.GeotrapError("disk full", hint="free some space.")) == "disk full. Free some space"
    assert str(errors.GeotrapError("disk full")) == "disk full"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.GeotrapError, 1),
        (errors.NonFiniteError, 1),
        (errors.UsageError, 2),
        (errors.GateFailed, 3),
        (errors.NotValid, 4),
    ],
)
def test_exit_codes(kind: type[errors.GeotrapError], code: int) -> None:
    assert kind("x").exit_code == code
    assert isinstance(kind("x"), errors.GeotrapError)
