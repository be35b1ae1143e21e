from __future__ import annotations

import dataclasses
import io
import math
from typing import Any

import pytest
import torch
from rich.console import Console

from geotrap_cli.evaluation.audit import (
    GRADIENT_DEFENDED,
    GRADIENT_UNDEFENDED,
    WEIGHT_CHANGE,
    EnergyShares,
    TrapAudit,
    TrapDepths,
)
from geotrap_cli.evaluation.geometry import GeometryRecorder, GeometryState
from geotrap_cli.gaussians import CHANNELS, activate
from geotrap_cli.reports.audit_tables import (
    audit_tables,
    depth_table,
    drift_table,
    geometry_table,
    saturation_table,
    shortcut_table,
)
from geotrap_cli.reports.layout import TextTable

LONG = "unet.down_blocks.4.attns.1.attn.qkv.weight"


def printed(table: TextTable, width: int = 80) -> str:
    target = Console(file=io.StringIO(), width=width)
    target.print(table)
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


def lines(table: TextTable) -> list[list[str]]:
    return [line.split() for line in printed(table).splitlines()]


def state(opacity: float = 0.0) -> GeometryState:
    raw = torch.zeros(1, 100, 14)
    raw[..., CHANNELS["opacities"]] = opacity
    raw[0, :25, CHANNELS["means"]] = 5.0
    recorder = GeometryRecorder()
    recorder.see(activate(raw), ["mug/0"])
    found = recorder.report()
    assert found is not None
    return found


@pytest.fixture
def audit() -> TrapAudit:
    shares = EnergyShares.of({LONG: 6.0, "conv.weight": 3.0, "conv.bias": 1.0}, {LONG})
    return TrapAudit(
        depths=[TrapDepths("position", -1.0, -9.25, None, -8.25)],
        source_drift=0.0125,
        source_drift_by_attribute=dict.fromkeys(CHANNELS, 0.001),
        geometry={"undefended": state(), "defended": state(-9.0)},
        shortcut={GRADIENT_UNDEFENDED: shares, GRADIENT_DEFENDED: None, WEIGHT_CHANGE: shares},
    )


def test_depths_that_were_not_measured_say_so(audit: TrapAudit) -> None:
    assert ["position", "-1.00", "-9.25", "not", "measured", "-8.25"] in lines(depth_table(audit.depths))
    broken = dataclasses.replace(audit.depths[0], visible=math.nan)
    assert "nan" not in printed(depth_table([broken]))


def test_states_have_a_line_for_all_and_one_for_what_is_seen(audit: TrapAudit) -> None:
    found = lines(geometry_table(audit.states()))
    assert next(line for line in found if line[:1] == ["undefended"])[2] == "0.5"
    assert next(line for line in found if line[:1] == ["defended"])[2] == "0.000123"
    assert sum(line[:2] == ["as", "seen"] for line in found) == 2


def test_missing_states_are_no_numbers() -> None:
    states = {"undefended": state(-200.0), "full: defended": None}
    found = lines(geometry_table(states))
    # Opacities that underflow leave nothing to weigh with.
    assert ["seen:", "not", "measured"] in found
    missing = found.index(["full:", "defended"])
    assert found[missing + 1] == ["not", "measured"]
    found = lines(saturation_table(states))
    assert found[found.index(["full:", "defended"]) + 1] == ["not", "measured"]


def test_shares_of_stuck_gaussians() -> None:
    found = lines(saturation_table({"undefended": state(), "defended": state(-9.0)}))
    assert ["undefended", "0.0%", "25.0%", "0.0%", "0.0%", "0.0%", "25.0%"] in found
    assert ["defended", "100.0%", "25.0%", "100.0%", "0.0%", "0.0%", "100.0%"] in found


def test_drift_has_every_attribute_and_the_whole(audit: TrapAudit) -> None:
    found = lines(drift_table(audit.source_drift, audit.source_drift_by_attribute))
    assert found[1] == [*CHANNELS, "all", "channels"]
    assert found[3] == ["mean", "change", *["0.0010"] * 5, "0.0125"]


def test_shortcut_names_the_tensors_and_marks_the_untrained(audit: TrapAudit) -> None:
    text = printed(shortcut_table(audit.shortcut), width=200)
    assert ["gradient,", "undefended", "60%", "100%", "100%", "3"] in lines(shortcut_table(audit.shortcut))
    assert ["gradient,", "defended", "not", "measured"] in lines(shortcut_table(audit.shortcut))
    assert f"gradient, undefended: {LONG} 60%, conv.weight * 30%, conv.bias * 10%" in text
    assert "gradient, defended:" not in text


@pytest.mark.parametrize("name", ["undefended", "lora-rank-64: undefended"])
def test_everything_fits_eighty_columns(audit: TrapAudit, name: str) -> None:
    states: dict[str, Any] = {name: state(-9.0), "lora-rank-64: defended": None}
    for table in audit_tables(audit, states):
        text = printed(table)
        assert max(map(len, text.splitlines())) <= 80
        # Nothing was cut or folded: names stay whole.
        assert "…" not in text
    assert name in printed(geometry_table(states))
    assert name in printed(saturation_table(states))
