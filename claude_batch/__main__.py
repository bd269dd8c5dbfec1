"""`python -m claude_batch`, and the console script."""

from __future__ import annotations

import io
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLEAN_LINE = "\r\x1b[K\x1b[?25h"
"""What a terminal needs: a bar that was being drawn is wiped out, the cursor is shown."""

_NOTHING_SENT = {"run", "resume"}
"""Commands that take signals in their own way before they send anything."""


def main() -> None:
    """Run the command line."""
    _leave_when_signaled()
    from claude_batch.cli.app import app  # noqa: PLC0415  # from here on a signal may come

    _fill_closed_descriptors()
    _escape_what_stdout_lacks()
    app(prog_name="claude-batch")


def _leave_when_signaled() -> None:
    """Let a signal end the process at once, until a run takes signals itself.

    Nothing is raised: in the middle of an import, or beside the thread that loads the SDK, an
    exception is lost, becomes another one, or leaves a lock that is waited for for ever. What lies
    on disk by then is whole after any end; the system lets go of locks. Signals that whoever
    started us has switched off stay so.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    # whoever started us may have held them back, so that none was lost in the start of Python
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _leave(number: int, _frame: FrameType | None) -> None:
    """Say that nothing has happened, and end the process."""
    what = " before anything was sent" if _NOTHING_SENT & set(sys.argv[1:2]) else ""
    with suppress(OSError):  # a stderr that is closed or full
        start = _CLEAN_LINE if os.isatty(2) else ""
        os.write(2, f"{start}interrupted{what}\n".encode())
    os._exit(128 + number)


def _fill_closed_descriptors() -> None:
    """Put the null device where stdin or stdout was closed (`>&-`).

    A file of the run would get that descriptor, and results meant for stdout would go into it.
    """
    if sys.stdin is None:
        sys.stdin = _null_device(0, "r")
    if sys.stdout is None:
        sys.stdout = _null_device(1, "w")


def _escape_what_stdout_lacks() -> None:
    """Write characters that the encoding of stdout lacks as escapes, as Python does on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(OSError):  # a descriptor that was a file when Python started, and now a pipe
            sys.stdout.reconfigure(errors="backslashreplace")


def _null_device(descriptor: int, mode: str) -> io.TextIOWrapper:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    return io.TextIOWrapper(io.FileIO(descriptor, mode, closefd=False), encoding="utf-8")


if __name__ == "__main__":
    main()
