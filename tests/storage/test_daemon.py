"""Work beside the event loop, in a thread that nobody waits for at the end."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from claude_batch.storage.daemon import in_daemon


def test_what_the_work_returns_comes_back() -> None:
    assert asyncio.run(in_daemon(lambda: 7)) == 7


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_daemon(lambda: 1 // 0))


def test_work_that_hangs_does_not_keep_a_loop_from_ending() -> None:
    release = threading.Event()

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_daemon(lambda: release.wait(30)), 0.05)

    began = time.monotonic()
    asyncio.run(give_up())
    release.set()
    assert time.monotonic() - began < 5
