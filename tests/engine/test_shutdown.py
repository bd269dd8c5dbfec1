"""Signals ask a run to stop; which of them, and what a second one means."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from claude_batch.engine.shutdown import (
    SIGNALS,
    Interruption,
    exit_code_of,
    handle_signals,
    raise_signals,
)


@pytest.fixture
def ignored() -> Iterator[None]:
    numbers = (signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("ignored")
def test_a_hangup_that_is_ignored_from_the_start_stays_so_unlike_ctrl_c() -> None:
    async def run() -> Interruption:
        interruption = Interruption()
        with handle_signals(interruption):
            os.kill(os.getpid(), signal.SIGHUP)
            await asyncio.sleep(0.01)
            assert not interruption.asked.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            await interruption.asked.wait()
        return interruption

    assert asyncio.run(run()).signal_number == signal.SIGINT
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_between_two_runs_a_signal_interrupts() -> None:
    async def run() -> None:
        with handle_signals(Interruption()):
            pass

    before = [signal.getsignal(number) for number in SIGNALS]
    try:
        raise_signals()
        asyncio.run(run())
        with pytest.raises(KeyboardInterrupt) as interrupt:
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler)
    assert exit_code_of(interrupt.value) == 143


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
