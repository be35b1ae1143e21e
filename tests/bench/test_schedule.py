"""The order of jobs, whoever does them, and what a failed or a lost one costs."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geotrap_cli.bench.executors.in_process import InProcess
from geotrap_cli.bench.job import Job, Outcome
from geotrap_cli.bench.schedule import RETRIES, Schedule
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile, load_profile

Make = Callable[..., Job]


@functools.cache
def some_profile() -> LoadedProfile:
    return load_profile("pos_opacity", env={})


class Disorderly:
    """Ends what is under way in any order; notes what it was given."""

    def __init__(self, slots: int, seed: int, answer: Callable[[Job], Outcome]) -> None:
        self.slots, self._draw, self._answer = slots, random.Random(seed), answer
        self.running: list[Job] = []
        self.ended: list[str] = []
        self.begun: list[tuple[str, frozenset[str]]] = []
        self.closed = False

    def submit(self, job: Job) -> None:
        self.running.append(job)
        self.begun.append((job.name, frozenset(self.ended)))
        assert len(self.running) <= self.slots

    def wait(self) -> list[Outcome]:
        job = self.running.pop(self._draw.randrange(len(self.running)))
        self.ended.append(job.name)
        return [self._answer(job)]

    def close(self) -> None:
        self.closed = True


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(0, 2**16), st.data())
def test_every_job_once_after_what_it_waits_for(slots: int, seed: int, data: st.DataObject) -> None:
    loaded = some_profile()
    jobs: list[Job] = []
    for number in range(data.draw(st.integers(1, 10))):
        earlier = [job.name for job in jobs]
        pick = st.lists(st.sampled_from(earlier), unique=True, max_size=2) if earlier else st.just([])
        needs, after = tuple(data.draw(pick)), tuple(data.draw(pick))
        jobs.append(Job(str(number), ("p", "d"), 0, "lora", "d", loaded, CommonOptions(), needs, after))
    bad = set(data.draw(st.lists(st.sampled_from([job.name for job in jobs]), unique=True)))
    executor = Disorderly(slots, seed, lambda job: Outcome(job.name, error="bad" if job.name in bad else None))
    ended: list[str] = []
    schedule = Schedule(jobs, lambda job, _: ended.append(job.name))
    schedule.run(executor)
    assert sorted(ended) == sorted(job.name for job in jobs)
    assert executor.closed and not schedule.left
    waits = {job.name: job for job in jobs}
    for name, before in executor.begun:
        assert set(waits[name].needs) <= before - bad
        # What failed without being begun has ended as well.
        begun = {one for one, _ in executor.begun}
        assert set(waits[name].after) & begun <= before
    assert bad & {name for name, _ in executor.begun} <= schedule.failed.keys()


def test_what_waits_for_a_failed_job_fails_and_what_only_follows_it_does_not(make_job: Make) -> None:
    jobs = [make_job("a"), make_job("b", needs=("a",)), make_job("c", needs=("b",)), make_job("d", after=("a",))]
    done: list[str] = []

    def perform(job: Job) -> Outcome:
        done.append(job.name)
        return Outcome(job.name, error="loss is nan" if job.name == "a" else None)

    schedule = Schedule(jobs, lambda *_: None)
    schedule.run(InProcess(perform))
    assert done == ["a", "d"]
    assert schedule.failed == {
        "a": "loss is nan",
        "b": "it waits for what failed: a",
        "c": "it waits for what failed: b",
    }


@pytest.mark.parametrize(("losses", "fails"), [(RETRIES, False), (RETRIES + 1, True)])
def test_a_lost_job_is_begun_again_but_not_for_ever(make_job: Make, losses: int, fails: bool) -> None:
    left = [losses]

    def perform(job: Job) -> Outcome:
        left[0] -= job.name == "a"
        lost = job.name == "a" and left[0] >= 0
        return Outcome(job.name, error="gone" if lost else None, lost=lost)

    again: list[str] = []
    schedule = Schedule([make_job("a"), make_job("b")], lambda *_: None, lambda job, _: again.append(job.name))
    schedule.run(InProcess(perform))
    assert again == ["a"] * RETRIES
    assert (schedule.failed == {"a": "gone"}) is fails


def test_an_interrupt_closes_the_executor(make_job: Make) -> None:
    def perform(job: Job) -> Outcome:
        raise KeyboardInterrupt

    executor = Disorderly(1, 0, perform)
    with pytest.raises(KeyboardInterrupt):
        Schedule([make_job("a")], lambda *_: None).run(executor)
    assert executor.closed
