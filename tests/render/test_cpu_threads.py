"""The thread pool of the CPU back end."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable

import pytest
import torch

from geotrap_cli.render.base import FAR, NEAR, Splats
from geotrap_cli.render.cpu import rasterize_cpu
from geotrap_cli.render.cpu_threads import for_each


def test_every_task_is_done_once(threads: Callable[[int], None]) -> None:
    for count in (1, 3):
        threads(count)
        done: list[int] = []
        for_each(done.append, range(20))
        assert sorted(done) == list(range(20))


def test_tasks_share_the_threads_torch_was_given(threads: Callable[[int], None]) -> None:
    threads(3)
    meeting = threading.Barrier(3, timeout=30)
    arrivals: list[int] = []
    for_each(lambda _: arrivals.append(meeting.wait()), range(3))
    assert sorted(arrivals) == [0, 1, 2]


def test_one_thread_is_the_calling_thread(threads: Callable[[int], None]) -> None:
    threads(1)
    names: list[str] = []
    for_each(lambda _: names.append(threading.current_thread().name), range(3))
    assert set(names) == {threading.current_thread().name}


def test_an_error_in_a_task_is_raised(threads: Callable[[int], None]) -> None:
    threads(2)

    def fail(task: int) -> None:
        if task == 3:
            raise ValueError("task 3")

    with pytest.raises(ValueError, match="task 3"):
        for_each(fail, range(5))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_renders(scene: Callable[..., Splats], threads: Callable[[int], None]) -> None:
    threads(2)
    splats = scene(batch=2, views=2)
    expected = rasterize_cpu(splats, 19, 13, NEAR, FAR)[0]
    context = multiprocessing.get_context("fork")
    equal = context.Value("i", 0)

    def draw() -> None:
        equal.value = int(torch.equal(rasterize_cpu(splats, 19, 13, NEAR, FAR)[0], expected))

    child = context.Process(target=draw, daemon=True)
    child.start()
    child.join(timeout=60)
    hung = child.is_alive()
    if hung:
        child.kill()
    assert not hung
    assert equal.value == 1
