"""Signals ask a run to stop; which of them, and what a second one means."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from claude_batch.engine.shutdown import Interruption, handle_signals


@pytest.fixture
def ignored_hangup() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("ignored_hangup")
def test_a_signal_that_is_ignored_from_the_start_stays_so() -> None:
    async def run() -> Interruption:
        interruption = Interruption()
        with handle_signals(interruption):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
            assert not interruption.asked.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            await interruption.asked.wait()
        return interruption

    assert asyncio.run(run()).signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("first", "second", "cuts"),
    [
        (signal.SIGINT, signal.SIGINT, True),
        (signal.SIGHUP, signal.SIGTERM, True),
        (signal.SIGHUP, signal.SIGHUP, False),
        (signal.SIGINT, signal.SIGHUP, False),
        (signal.SIGHUP, signal.SIGPIPE, False),
    ],
)
def test_a_terminal_that_is_closed_does_not_cut_a_run_off(
    first: int, second: int, *, cuts: bool
) -> None:
    interruption = Interruption()
    interruption.ask(first)
    interruption.ask(second)
    assert (interruption.cut.is_set(), interruption.signal_number) == (cuts, first)
