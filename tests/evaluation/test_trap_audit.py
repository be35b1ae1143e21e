from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.audit import AUDIT, EnergyShares, TensorShare, read_audit


def test_shares_of_two_tensors() -> None:
    shares = EnergyShares.of({"body": 1.0, "head": 3.0}, {"body"})
    assert shares == EnergyShares(
        {"1": 0.75, "5": 1.0, "10": 1.0}, 2, [TensorShare("head", 0.75, False), TensorShare("body", 0.25, True)]
    )


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_shares_grow_to_one(values: list[float]) -> None:
    shares = EnergyShares.of({f"t{index}": value for index, value in enumerate(values)}, ())
    if sum(values) == 0:
        assert shares is None
        return
    assert shares is not None
    assert 0 < shares.top["1"] <= shares.top["5"] <= shares.top["10"] <= 1
    assert shares.top["10"] == pytest.approx(sum(sorted(values)[-10:]) / sum(values))
    assert len(shares.largest) == min(10, len(values))


def test_evenly_spread_energy_is_no_shortcut() -> None:
    shares = EnergyShares.of({f"t{index}": 2.0 for index in range(100)}, ())
    assert shares is not None
    assert shares.top == {"1": pytest.approx(0.01), "5": pytest.approx(0.05), "10": pytest.approx(0.1)}


def test_no_energy_has_no_shares() -> None:
    assert EnergyShares.of({"a": 0.0, "b": 0.0}, ()) is None


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no audit\.json"):
        read_audit(tmp_path)
    (tmp_path / AUDIT).write_text('{"depths": 1}')
    with pytest.raises(UsageError, match=r"audit\.json is not an audit: depths") as caught:
        read_audit(tmp_path)
    assert caught.value.hint == "train again with `geotrap train`"
