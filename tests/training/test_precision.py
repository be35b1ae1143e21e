from __future__ import annotations

import pytest
import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.training.precision import autocast, pick_device, resolve_precision


def test_auto_is_the_best_device_there_is() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "meta", "mps", ""])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(UsageError, match="unknown device"):
        pick_device(name)


def test_a_device_that_is_not_there() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match=f"cuda:{count} is not there"):
        pick_device(f"cuda:{count}")


def test_precision_acts_on_the_network() -> None:
    cpu = torch.device("cpu")
    x = torch.ones(2, 2)
    with autocast("bf16", cpu):
        assert (x @ x).dtype == torch.bfloat16
    for precision in ("fp32", "auto"):
        with autocast(precision, cpu):
            assert (x @ x).dtype == torch.float32
    assert [resolve_precision(name, cpu) for name in ("auto", "fp32", "bf16")] == ["fp32", "fp32", "bf16"]
