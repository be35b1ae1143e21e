"""Comparisons from stores: cells are joined where weights and attack are the same, and what lacks its half is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.store import ResultsStore, StoredCell, content_key
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.reports.stored_pairs import select_stored

STRONG, RESISTING = (18.0, 21.0, 24.5), (14.0, 15.0, 17.0)
WEIGHTS = {"undefended": "u", "defended": "d", "scratch": "random"}
PROFILE = "[eval]\nrecover_threshold = 0.8\n"


def fill(
    path: Path,
    cells: Sequence[Cell],
    created: str = "2026-01-01",
    profile: str = PROFILE,
    code: str = "1",
    **weights: str,
) -> Path:
    store = ResultsStore(path)
    for cell in cells:
        digest = {**WEIGHTS, **weights}[cell.subject]
        inputs = {"weights": digest, "subject": cell.subject, "method": cell.method, "seed": cell.seed, "code": code}
        store.append(
            StoredCell(
                content_key(inputs), inputs, digest, "u", f"runs/{created}", "runs/train", created, profile, "p", cell
            )
        )
    return path


def labels(pairs: Sequence[AttackPair]) -> list[tuple[str, int]]:
    return [(pair.method, pair.defended.seed) for pair in pairs]


def test_halves_from_different_machines_make_a_pair(tmp_path: Path, make_pair: Any) -> None:
    undefended, defended = make_pair(STRONG, RESISTING)
    first = fill(tmp_path / "a.jsonl", [undefended])
    second = fill(tmp_path / "b.jsonl", [defended], created="2026-01-02")
    selection = select_stored([first, second])
    (pair,) = selection.pairs
    assert (pair.folder("undefended"), pair.folder("defended")) == (Path("runs/2026-01-01"), Path("runs/2026-01-02"))
    assert pair.file("undefended") == "runs/2026-01-01/cells/lora-undefended.json"
    assert selection.weights == {"undefended": "u", "defended": "d"}
    assert selection.profile.eval.recover_threshold == 0.8


def test_undefended_cells_serve_every_defense_and_the_newest_is_compared(tmp_path: Path, make_pair: Any) -> None:
    cells = make_pair(STRONG, RESISTING)
    path = fill(tmp_path / "s.jsonl", cells)
    fill(path, [make_pair(STRONG, STRONG)[1]], created="2026-01-02", defended="e")
    assert select_stored([path]).weights["defended"] == "e"
    named = select_stored([path], weights="d")
    assert named.pairs[0].defended == cells[1]
    with pytest.raises(UsageError, match="no attack on defended weights x"):
        select_stored([path], weights="x")


def test_halves_of_two_versions_of_the_program_make_no_pair(tmp_path: Path, make_pair: Any) -> None:
    old, new = make_pair(STRONG, RESISTING), make_pair(RESISTING, STRONG)
    path = fill(tmp_path / "s.jsonl", old)
    fill(path, new[:1], created="2026-01-02", code="2")
    (pair,) = select_stored([path]).pairs
    assert (pair.undefended, pair.defended) == tuple(old)
    fill(path, new[1:], created="2026-01-03", code="2")
    (pair,) = select_stored([path]).pairs
    assert (pair.undefended, pair.defended) == tuple(new)


def test_what_settings_were_chosen_by_does_not_keep_the_test_out(tmp_path: Path, make_pair: Any) -> None:
    trial = make_pair(STRONG, RESISTING, "full", ids=["mug/0", "mug/1"])
    path = fill(tmp_path / "s.jsonl", trial, profile=f'{PROFILE}split = "validation"\n')
    fill(path, make_pair(STRONG, RESISTING), created="2026-01-02")
    selection = select_stored([path])
    assert labels(selection.pairs) == [("lora", 0)]
    assert any("full" in note and "leaving out" in note for note in selection.notes)


def test_controls_come_along(tmp_path: Path, make_pair: Any) -> None:
    scratch = dataclasses.replace(make_pair(STRONG, (15.0, 16.0, 20.0))[1], subject="scratch")
    selection = select_stored([fill(tmp_path / "s.jsonl", [*make_pair(STRONG, RESISTING), scratch])])
    assert selection.pairs[0].scratch == scratch


def test_what_has_no_half_or_does_not_fit_is_left_out_aloud(tmp_path: Path, make_pair: Any) -> None:
    good = make_pair(STRONG, RESISTING)
    lonely = make_pair(STRONG, RESISTING, "full")[1]
    other = [make_pair(STRONG, RESISTING, "odd")[0], make_pair(STRONG, RESISTING, "odd", ids=["mug/0"])[1]]
    elsewhere = make_pair(STRONG, RESISTING, "few", ids=["mug/0", "mug/1"])
    selection = select_stored([fill(tmp_path / "s.jsonl", [*good, lonely, *other, *elsewhere])])
    assert labels(selection.pairs) == [("lora", 0)]
    said = "\n".join(selection.notes)
    assert "leaving out full, seed 0: the undefended weights were not attacked" in said
    assert "leaving out odd, seed 0" in said and "not in both" in said
    assert "leaving out few of" in said


def test_a_store_without_a_pair_is_an_error(tmp_path: Path, make_pair: Any) -> None:
    path = fill(tmp_path / "s.jsonl", make_pair(STRONG, RESISTING)[1:])
    with pytest.raises(UsageError, match="no attack has both of its cells"):
        select_stored([path])


def test_a_profile_of_another_version_is_an_error(tmp_path: Path, make_pair: Any) -> None:
    path = fill(tmp_path / "s.jsonl", make_pair(STRONG, RESISTING))
    path.write_text(path.read_text().replace("recover_threshold", "nonsense"))
    with pytest.raises(UsageError, match="profile 'p' that a stored cell of runs/2026-01-01 brings"):
        select_stored([path])
