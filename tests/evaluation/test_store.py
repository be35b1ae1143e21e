"""Cells in one file: found again by content, safe against a crash, joined from several machines."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import Cell, CellEvaluation
from geotrap_cli.evaluation.evaluate import ObjectScore
from geotrap_cli.evaluation.store import STORE, ResultsStore, StoredCell, content_key, merge


def row(name: str = "a", created: str = "2026-01-01", quality: float = 20.0, **changes: Any) -> StoredCell:
    inputs = {"weights": name}
    scores = [ObjectScore("mug/0", "mug", "mug", {"foreground_psnr": quality})]
    cell = Cell("lora", "defended", 10, 0, [CellEvaluation(0, scores, None)], None, 1.0, 7, None, None)
    stored = StoredCell(
        content_key(inputs), inputs, name, "u", f"runs/{name}", "runs/train", created, "[eval]\n", "mini", cell
    )
    return dataclasses.replace(stored, **changes)


def test_key_depends_on_every_input_and_on_no_order() -> None:
    inputs = {"weights": "w", "seeds": {"attack": 0, "data": 1}, "config": {"lr": 1e-4}}
    turned = {name: inputs[name] for name in reversed(inputs)}
    assert content_key(inputs) == content_key(turned)
    others = [
        {**inputs, "weights": "x"},
        {**inputs, "seeds": {"attack": 1, "data": 1}},
        {**inputs, "config": {"lr": 2e-4}},
    ]
    assert len({content_key(other) for other in [inputs, *others]}) == 4
    with pytest.raises(ValueError, match="JSON"):
        content_key({"lr": math.nan})


def test_what_was_appended_is_found_and_the_last_of_a_key_counts(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    assert store.find(row().key) is None
    for quality in (20.0, math.inf):
        store.append(row(quality=quality))
    store.append(row("b"))
    found = store.find(row().key)
    assert found == row(quality=math.inf)
    assert store.find("0" * 64) is None
    assert [stored.weights for stored in store.rows()] == ["a", "b"]
    assert store.path == tmp_path / STORE


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 400))
def test_a_line_cut_short_by_a_crash_costs_that_line_alone(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    store = ResultsStore(tmp_path_factory.mktemp("store"))
    store.append(row("a"))
    store.append(row("b"))
    store.path.write_bytes(store.path.read_bytes()[:-cut])
    assert [stored.weights for stored in store.rows()] == ["a"]
    store.append(row("c"))
    assert [stored.weights for stored in store.rows()] == ["a", "c"]


def _append_forever(path: Path) -> None:
    store = ResultsStore(path)
    for number in range(1_000_000):
        store.append(row(str(number)))


def test_sigkill_leaves_a_store_that_reads_and_grows(tmp_path: Path) -> None:
    writer = multiprocessing.get_context("fork").Process(target=_append_forever, args=(tmp_path,))
    writer.start()
    store = ResultsStore(tmp_path)
    while not (store.path.is_file() and len(store.rows()) > 3):
        assert writer.is_alive()
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    before = [stored.weights for stored in store.rows()]
    assert before == [str(number) for number in range(len(before))]
    store.append(row("after"))
    assert store.rows()[-1].weights == "after"


def test_stores_of_several_machines_merge(tmp_path: Path) -> None:
    first, second = (ResultsStore(tmp_path / name) for name in ("one", "two.jsonl"))
    first.append(row("a", created="2026-01-02"))
    first.append(row("b", created="2026-01-03"))
    second.append(row("c", created="2026-01-01"))
    second.append(row("b", created="2026-01-04"))
    assert [(stored.weights, stored.created[-1]) for stored in merge([first, second])] == [
        ("c", "1"),
        ("a", "2"),
        ("b", "4"),
    ]


def test_missing_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no store .*results\.jsonl"):
        ResultsStore(tmp_path).rows()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"steps":10', '"steps":"many"', "cell.steps"),
        ('"evaluations":[{', '"evaluations":[],"x":[{', "never evaluated"),
    ],
)
def test_broken_line_is_named_with_its_number(tmp_path: Path, old: str, new: str, problem: str) -> None:
    store = ResultsStore(tmp_path)
    store.append(row("a"))
    store.append(row("b"))
    first, second = store.path.read_text().splitlines()
    assert old in second
    store.path.write_text(f"{first}\n{second.replace(old, new)}\n")
    with pytest.raises(UsageError, match=f"line 2 is not a stored cell: .*{problem}"):
        store.rows()
    assert store.find(row("a").key) == row("a")
