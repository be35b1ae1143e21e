"""One cell of the comparison of layers, on a tiny generator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

BUDGET = ("train.steps=2", "attack.steps=1", "attack.evaluations=1", "attack.methods=full", "eval.objects=2")


@pytest.mark.usefixtures("shared_cache")
def test_a_choice_is_trained_attacked_and_tabulated_once(
    mini_profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import layer_choice

    study = layer_choice.Study(tmp_path, str(mini_profile), 1, ("all",), 1, 2, BUDGET, "cpu")
    ranked = [layer_choice.UnitFacts("unet.conv_in", 10, False, False)]
    layer_choice.run_choice(study, "all", ranked, 0, Console(quiet=True))
    record = json.loads((tmp_path / "cells" / "all-seed0-full.json").read_text())
    assert (record["units"], record["parameters"]) == (["unet.conv_in"], 10)
    assert {entry["split"] for entry in record["objects"]} == {"target", "source"}
    (row,) = [line for line in layer_choice.write_table(study).splitlines() if line.startswith("| full")]
    assert "all units | 1 | 10 | 1 |" in row

    monkeypatch.setattr(layer_choice, "finish_training", lambda *_: pytest.fail("a finished cell was run again"))
    layer_choice.run_choice(study, "all", ranked, 0, Console(quiet=True))
