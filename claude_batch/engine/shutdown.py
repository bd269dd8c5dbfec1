"""How a run is ended: signals (the first asks it to stop, the second cuts it off), exceptions."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from claude_batch.errors import ClaudeBatchError


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the cause of a group: our own exceptions before others, then the first."""
    causes = [
        first_cause(cause) if isinstance(cause, BaseExceptionGroup) else cause
        for cause in group.exceptions
    ]
    ours = [cause for cause in causes if isinstance(cause, ClaudeBatchError)]
    return (ours or causes)[0]


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What asks a run to stop."""

CUTTING = frozenset({signal.SIGINT, signal.SIGTERM})
"""What cuts it off as the second one. A terminal that is closed may hang up twice."""


def heeded_signals() -> list[signal.Signals]:
    """Return the signals to take: hang-ups that whoever started us ignores (nohup) stay ignored.

    Ctrl-C does not: shells ignore it for what a script starts in the background, which nobody has
    asked for, and a run that Ctrl-C cannot stop spends money.
    """
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [each for each in SIGNALS if not (ignored and each == signal.SIGHUP)]


def raise_signals() -> None:
    """Raise KeyboardInterrupt, with the signal, on those that ask for a stop: between two runs."""
    for each in heeded_signals():
        signal.signal(each, _raise)


def _raise(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(number)


def exit_code_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of a command that was interrupted between two runs."""
    return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)


@dataclass(slots=True)
class Interruption:
    """Set when the run is asked to stop, with the signal; `cut` when asked twice."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    cut: asyncio.Event = field(default_factory=asyncio.Event)
    signal_number: int | None = None

    def ask(self, signal_number: int) -> None:
        """Ask for a stop; the second time, cut the run off. The first signal is kept."""
        if self.asked.is_set():
            if signal_number in CUTTING:
                self.cut.set()
            return
        self.signal_number = signal_number
        self.asked.set()


@contextmanager
def handle_signals(interruption: Interruption) -> Iterator[None]:
    """Ask for a stop on SIGINT, SIGTERM and SIGHUP while the block runs."""
    loop, numbers = asyncio.get_running_loop(), heeded_signals()
    raising = [each for each in numbers if signal.getsignal(each) is _raise]
    for number in numbers:
        loop.add_signal_handler(number, interruption.ask, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
        for number in raising:
            signal.signal(number, _raise)
