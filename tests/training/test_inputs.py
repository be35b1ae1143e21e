from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.runs import create_run
from geotrap_cli.training.inputs import record_inputs


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run("train", "mini", "", tmp_path)


def test_the_manifest_tells_what_went_in(open_mini: Callable[..., Any], run: RunFolder) -> None:
    opened = open_mini()
    record_inputs(run, opened.bench, opened.model)
    assert run.manifest["splits"] == opened.bench.splits.as_dict()
    assert run.manifest["data"] == opened.bench.dataset.fingerprint()
    assert len(run.manifest["weights"]) == 64
    assert run.manifest["device"] == run.manifest["environment"]["device"] == "cpu"
    record_inputs(run, opened.bench, opened.model)


def test_a_resumed_run_refuses_other_weights(open_mini: Callable[..., Any], run: RunFolder) -> None:
    opened = open_mini()
    record_inputs(run, opened.bench, opened.model)
    with torch.no_grad():
        opened.model.conv.bias[0] += 1
    with pytest.raises(UsageError, match=r"the weights of .* are not those it began with"):
        record_inputs(run, opened.bench, opened.model)


def test_a_resumed_run_refuses_other_data(open_mini: Callable[..., Any], run: RunFolder) -> None:
    opened = open_mini()
    record_inputs(run, opened.bench, opened.model)
    with pytest.raises(UsageError, match="the data and splits of"):
        record_inputs(run, open_mini("data.objects_per_category=7").bench, opened.model)
