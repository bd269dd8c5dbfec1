"""Work beside the event loop, in a thread that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from claude_batch.storage.daemon import DaemonThread, ends_within, in_daemon


def test_what_the_work_returns_comes_back() -> None:
    assert asyncio.run(in_daemon(lambda: 7)) == 7


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_daemon(lambda: 1 // 0))


def test_work_that_hangs_does_not_keep_a_loop_from_ending() -> None:
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_daemon(release.wait), 0.2)

    asyncio.run(give_up())  # it would take for ever
    release.set()


def test_work_that_ends_in_time_has_ended() -> None:
    done: list[int] = []
    assert ends_within(100.0, lambda: done.append(1))
    assert done == [1]


def test_work_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()
    assert not ends_within(0.2, release.wait)
    release.set()


def test_what_work_in_a_bounded_time_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        ends_within(100.0, lambda: 1 // 0)


def test_work_that_belongs_to_a_thread_is_done_in_it() -> None:
    async def act() -> list[str]:
        thread = DaemonThread("worker")
        names = [
            await thread.do(lambda: threading.current_thread().name),
            await thread.do(lambda: threading.current_thread().name),
        ]
        thread.end()
        return names

    assert asyncio.run(act()) == ["worker", "worker"]


def test_what_the_work_of_a_thread_raises_is_raised_and_the_thread_goes_on() -> None:
    async def act() -> int:
        thread = DaemonThread("worker")
        with pytest.raises(ZeroDivisionError):
            await thread.do(lambda: 1 // 0)
        return await thread.do(lambda: 7)

    assert asyncio.run(act()) == 7


def test_a_thread_that_hangs_does_not_keep_a_loop_from_ending() -> None:
    release = threading.Event()

    async def give_up() -> None:
        thread = DaemonThread("worker")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(thread.do(release.wait), 0.2)
        thread.end()

    asyncio.run(give_up())  # it would take for ever
    release.set()
