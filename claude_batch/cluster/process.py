"""claude-batch as a process of its own, in a process group that ends with the one that wants it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

KILL_AFTER_S = 20.0
"""A run that was asked to stop waits up to 10 s for answers; after this it is taken for hung."""

_LOOK_EVERY_S = 0.1
_MOST_SAID = 4_000
"""Bytes of what a process has said last that are kept: a few messages."""

_LAUNCH = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessEnd:
    """How a process ended: its exit code (negative: by a signal), and what it said last."""

    code: int
    said: str


def run_claude_batch(arguments: Sequence[str]) -> ProcessEnd:
    """Run claude-batch to its end, without a terminal; called in the main thread.

    Ctrl-C's signal (which is how Ray cancels a call) and the death of this process or of its parent
    stop it as Ctrl-C does: it keeps what it has.
    """
    with tempfile.TemporaryFile() as said, _asked_to_stop() as asked:
        process = subprocess.Popen(  # noqa: S603  # our own program
            [sys.executable, str(_LAUNCH), str(os.getpid()), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            _wait(process, asked)
        finally:
            with suppress(ProcessLookupError):  # whatever it has started
                os.killpg(process.pid, signal.SIGKILL)
        return ProcessEnd(code=process.returncode, said=_last_of(said))


def _wait(process: subprocess.Popen[bytes], asked: list[int]) -> None:
    parent, kill_at = os.getppid(), None
    while process.poll() is None:
        now = time.monotonic()
        if kill_at is None and (asked or os.getppid() != parent):
            kill_at = now + KILL_AFTER_S
            os.killpg(process.pid, signal.SIGINT)
        elif kill_at is not None and now >= kill_at:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(_LOOK_EVERY_S)


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Note Ctrl-C's signal instead of raising KeyboardInterrupt, which could strike anywhere."""
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _last_of(file: IO[bytes]) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_SAID))
    return file.read().decode(errors="replace").strip()
