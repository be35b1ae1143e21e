"""How far weights were moved, unit by unit, and what cannot be compared says why."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import save_generator, weights_hash
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.attack_runs import Selection, select_runs
from geotrap_cli.reports.layer_changes import layer_changes, unit_changes

CURVES = (18.0, 24.0), (14.0, 15.0)


def scaled(model: LGM, unit: str, factor: float) -> LGM:
    changed = copy.deepcopy(model)
    with torch.no_grad():
        for name in model.units()[unit]:
            changed.get_parameter(name).mul_(factor)
    return changed


def test_the_change_is_relative_to_the_unit(micro: LGM) -> None:
    unit = "unet.conv_in"
    end = {name: value.detach() for name, value in scaled(micro, unit, 1.1).named_parameters()}
    changes = dict(zip(micro.units(), unit_changes(micro, end), strict=True))
    assert changes.pop(unit) == pytest.approx(0.1, rel=1e-5)
    assert set(changes.values()) == {0.0}


def test_a_unit_without_counterpart_has_no_number(micro: LGM) -> None:
    end = {name: value.detach() for name, value in micro.named_parameters() if name != "unet.conv_in.weight"}
    changes = dict(zip(micro.units(), unit_changes(micro, end), strict=True))
    assert changes["unet.conv_in"] is None
    assert changes["unet.conv_out"] == 0.0


@pytest.fixture
def select(runs: Any, make_pair: Any, micro: LGM, tmp_path: Path) -> Callable[..., Selection]:
    """An attack run on the disk of the weights ``micro`` and those of a defense that doubled one unit."""

    def make(attacked: dict[str, LGM], defended: LGM | None = None) -> Selection:
        train = tmp_path / "train"
        released = defended or scaled(micro, "unet.conv_in", 2.0)
        save_generator(micro, tmp_path / "undefended")
        save_generator(scaled(micro, "unet.conv_in", 2.0), train / "model")
        hashes = {"undefended": weights_hash(micro), "defended": weights_hash(released)}
        run = runs.attack(make_pair(*CURVES), train_run=str(train), weights=hashes)
        for subject, model in attacked.items():
            save_generator(model, run / "weights" / f"lora-{subject}")
        found = select_runs(CommonOptions(runs=runs.root))
        table = found.profile.model.model_copy(update={"weights": str(tmp_path / "undefended")})
        return dataclasses.replace(found, profile=found.profile.model_copy(update={"model": table}))

    return make


def test_defense_and_attack_each_start_from_their_own_weights(select: Callable[..., Selection], micro: LGM) -> None:
    defended = scaled(micro, "unet.conv_in", 2.0)
    selection = select(
        {"undefended": scaled(micro, "unet.conv_in", 1.5), "defended": scaled(defended, "unet.conv_out", 0.75)}
    )
    found = layer_changes(selection, selection.pairs[0], "lora")
    assert found.missing == []
    at = {name: dict(zip(found.units, values, strict=True)) for name, values in found.changes.items()}
    assert at["defense"]["unet.conv_in"] == pytest.approx(1.0)
    assert at["undefended"]["unet.conv_in"] == pytest.approx(0.5)
    assert at["defended"]["unet.conv_in"] == 0.0
    assert at["defended"]["unet.conv_out"] == pytest.approx(0.25)


def test_what_is_not_there_is_named(select: Callable[..., Selection], micro: LGM) -> None:
    selection = select({"undefended": micro})
    found = layer_changes(selection, selection.pairs[0], "lora")
    assert set(found.changes) == {"defense", "undefended"}
    (line,) = found.missing
    assert line.startswith("changes of the defended weights by lora: ") and "kept no weights" in line


def test_other_weights_than_those_attacked_are_not_compared(select: Callable[..., Selection], micro: LGM) -> None:
    selection = select({}, defended=scaled(micro, "unet.conv_in", 3.0))
    found = layer_changes(selection, selection.pairs[0], "lora")
    assert found.changes == {}
    assert found.missing == ["changes by unit: the defended weights on this machine are not those that were attacked"]
