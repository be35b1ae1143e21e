"""Rounds of samples: how many, which, and the same ones again."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from geotrap_cli.data.base import ObjectRecord
from geotrap_cli.profile.schema import EvalTable, Profile, TrainTable
from geotrap_cli.sensitivity import rounds
from geotrap_cli.sensitivity.request import AnalysisRequest
from geotrap_cli.sensitivity.rounds import NORMS, Measured, Meter
from geotrap_cli.sensitivity.samples import SampleNorms

OBJECTS, RINGS, UNITS = 6, 5, ("a", "b", "c")


class Dataset:
    """Target objects t0 ... and source objects s0 ..., each with five rings of views."""

    records = tuple(ObjectRecord(f"{side}{n}", f"{side}{n}", side, 24) for side in "ts" for n in range(OBJECTS))

    def rings(self, id: str) -> list[list[int]]:
        return [[ring] * 4 for ring in range(RINGS)]


class Run:
    """A run folder that only remembers."""

    def __init__(self, path: Path) -> None:
        self.path, self.manifest = path, dict[str, Any]()

    def record(self, **entries: Any) -> None:
        self.manifest |= entries


def invented(stream: Any, places: range, groups: Mapping[str, str]) -> SampleNorms:
    """Norms that depend on the place and the side alone."""
    side = int(stream.ids[0].startswith("t"))
    rows = [np.random.default_rng([side, place]).lognormal(sigma=0.3, size=len(UNITS)) for place in places]
    return SampleNorms(tuple(groups[id] for id in stream.ids_at(places)), {"trap": np.array(rows)})


@pytest.fixture(scope="module", autouse=True)
def no_generator() -> Any:
    def measure_samples(model: Any, units: Any, stream: Any, places: range, measure: Any, groups: Any, on: Any) -> Any:
        for _ in places:
            on()
        return invented(stream, places, groups)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rounds, "measure_samples", measure_samples)
        patch.setattr(rounds, "prepare_views", lambda *_: None)
        yield


def take(folder: Path, **request: Any) -> tuple[Measured, str]:
    """Measure with a request; also return what was printed."""
    splits = SimpleNamespace(
        defense_target=[f"t{n}" for n in range(OBJECTS)], source_train=[f"s{n}" for n in range(OBJECTS)]
    )
    profile = Profile(train=TrainTable(seed=3), eval=EvalTable(bootstrap=50))
    sizes = {"input_size": 8, "output_size": 8, "input_views": 4}
    bench: Any = SimpleNamespace(dataset=Dataset(), splits=splits, profile=profile, **sizes)
    asked = AnalysisRequest(**request)
    plan: Any = SimpleNamespace(request=asked, losses=("trap",), measure=lambda _: None)
    units: Any = SimpleNamespace(names=UNITS)
    run: Any = Run(folder)
    text = StringIO()
    model: Any = None
    found = Meter(bench, model, units, plan, run, Console(file=text, width=200), quiet=False).measure()
    assert run.manifest["precision"] == found.precision.record()
    assert [len(ids) for ids in run.manifest["objects"].values()] == [found.precision.samples] * 2
    return found, text.getvalue()


@pytest.fixture
def measured(tmp_path: Path) -> Callable[..., Measured]:
    return lambda **request: take(tmp_path, **request)[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.floats(0.01, 0.8))
def test_never_fewer_than_asked_and_the_same_beginning(samples: int, width: float) -> None:
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        plain, _ = take(Path(first), samples=samples)
        more, _ = take(Path(second), samples=samples, target_ci=width)
    assert len(more.target) == len(more.source) == more.precision.samples >= samples
    # Without the option each object comes once at most.
    assert len(plain.target) == len(plain.source) == min(samples, OBJECTS)
    for few, many in ((plain.target, more.target), (plain.source, more.source)):
        np.testing.assert_array_equal(many.norms["trap"][: len(few)], few.norms["trap"])
        assert many.groups[: len(few)] == few.groups
    assert more.precision.reached or more.precision.samples == OBJECTS * RINGS
    assert more.precision.reached is (more.precision.widest <= width)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 8), st.floats(0.05, 0.4))
def test_again_and_continued_give_the_same(samples: int, width: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, _ = take(Path(folder), samples=samples, target_ci=width)
        # Norms of an earlier look are kept; the looks themselves are taken again.
        continued, _ = take(Path(folder), samples=samples, target_ci=width)
    with tempfile.TemporaryDirectory() as folder:
        again, _ = take(Path(folder), samples=samples, target_ci=width)
    assert first.precision == again.precision == continued.precision
    for other in (again, continued):
        np.testing.assert_array_equal(first.target.norms["trap"], other.target.norms["trap"])
        assert first.source.groups == other.source.groups


def test_a_continued_run_measures_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(tmp_path, samples=4)
    asked = []

    def note(model: Any, units: Any, stream: Any, places: range, measure: Any, groups: Any, on: Any) -> SampleNorms:
        asked.append(places)
        return invented(stream, places, groups)

    monkeypatch.setattr(rounds, "measure_samples", note)
    found, _ = take(tmp_path, samples=6)
    assert asked == [range(4, 6)] * 2
    np.testing.assert_array_equal(found.target.norms["trap"], take(tmp_path, samples=6)[0].target.norms["trap"])
    assert (tmp_path / NORMS).is_file()


def test_a_narrow_interval_needs_more_than_a_wide_one(measured: Callable[..., Measured]) -> None:
    wide, narrow = (measured(samples=4, target_ci=width).precision for width in (0.5, 0.12))
    assert wide.samples < narrow.samples
    assert wide.reached
    assert wide.looks <= narrow.looks


def test_what_cannot_be_reached_ends_when_all_views_are_used_up(measured: Callable[..., Measured]) -> None:
    found = measured(samples=4, target_ci=1e-6)
    assert (found.precision.samples, found.precision.reached) == (OBJECTS * RINGS, False)
    # A single group has no interval: the width stays undefined, and it is not taken for zero.
    assert math.isfinite(found.precision.widest)


def test_fewer_objects_than_asked_for_are_said(tmp_path: Path) -> None:
    found, text = take(tmp_path, samples=100)
    assert found.precision.samples == OBJECTS
    assert "6 samples of each side instead of 100" in text
