"""The program started in milliseconds: forked from a process that has loaded it.

A fresh interpreter spends half a second on imports. Tests of a start itself, of memory, of limits
that a shell sets and of closed descriptors start one all the same (`fresh=True`).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_LONGEST = 1 << 20
"""Bytes that an order may have: arguments and environment as JSON."""
_LOADED_WITHIN_S = 200.0
_SHARED = "CLAUDE_BATCH_TESTS_FOLDER"
_SOCKET = "socket"


@dataclass(slots=True)
class Forked:
    """A program that has been started; what it has of `subprocess.Popen` does the same."""

    pid: int
    _answers: socket.socket
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            with self._answers:
                self.returncode = _number(self._answers)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Return the exit code; `TimeoutExpired` if it takes longer."""
        if self.returncode is None and not select.select([self._answers], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("claude-batch", timeout)
        code = self.poll()
        assert code is not None
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def start(
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    descriptors: tuple[int, int, int],
) -> Forked:
    """Start `claude-batch` in `folder`; `descriptors` are its stdin, stdout and stderr."""
    order = {"arguments": [*arguments], "folder": str(folder), "environment": {**environment}}
    raw = json.dumps(order).encode()
    assert len(raw) <= _LONGEST, "give it to a fresh interpreter"
    answers = socket.socket(socket.AF_UNIX)
    answers.connect(f"{folder_of_command()}/{_SOCKET}")
    socket.send_fds(answers, [_packed(len(raw))], descriptors)
    answers.sendall(raw)
    return Forked(_number(answers), answers)


def share_one_process() -> None:
    """Let the processes that are started from now on fork from one and the same process."""
    os.environ[_SHARED] = _folder_of_new_process()


def folder_of_command() -> str:
    """Return a folder in which `claude-batch` is a command that forks: for the path of a shell."""
    folder = os.environ.get(_SHARED) or _folder_of_new_process()
    ends = time.monotonic() + _LOADED_WITHIN_S
    while not Path(folder, _SOCKET).exists():
        assert time.monotonic() < ends, "the program cannot be loaded"
        time.sleep(0.02)
    return folder


@cache
def _folder_of_new_process() -> str:
    """Start the process that programs are forked from; return the folder that has its socket."""
    folder = tempfile.TemporaryDirectory(prefix="claude-batch-tests-")
    command = Path(folder.name, "claude-batch")
    address = f"{folder.name}/{_SOCKET}"
    forked = [sys.executable, "-IS", str(Path(__file__).with_name("forked_command.py")), address]
    command.write_text(f'#!/bin/sh\nexec {shlex.join(forked)} "$@"\n')
    command.chmod(0o755)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.forking", address],
        cwd=Path(__file__).parents[2],
        env={"PATH": os.environ["PATH"], "PYTHONWARNINGS": "error"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )

    def end() -> None:
        process.communicate()  # it ends when its stdin does
        folder.cleanup()

    atexit.register(end)
    return folder.name


def _packed(number: int) -> bytes:
    return number.to_bytes(4, signed=True)


def _number(answers: socket.socket) -> int:
    return int.from_bytes(_exactly(answers, 4), signed=True)


def _exactly(answers: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes."""
    raw = b""
    while len(raw) < size:
        more = answers.recv(size - len(raw))
        assert more, "the process that has the program loaded has ended"
        raw += more
    return raw


# --- in the process that has the program loaded ---


def _load() -> None:
    """Import everything that any command may import."""
    import claude_batch  # noqa: PLC0415  # only here: whoever starts programs does not load one

    for module in pkgutil.walk_packages(claude_batch.__path__, "claude_batch."):
        importlib.import_module(module.name)
    import anthropic  # noqa: PLC0415

    client = anthropic.AsyncAnthropic(api_key="none")
    for loaded_when_used in (client.messages.batches, client.models):
        assert loaded_when_used is not None
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    gc.collect()
    gc.freeze()


def _orders(address: str) -> list[str]:
    """Fork for every order; return its arguments in the process that is to carry it out."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".part")
    listener.listen(64)
    Path(address + ".part").rename(address)
    while True:
        if select.select([listener.fileno(), 0], [], [])[0][-1] == 0:  # the tests have ended
            os._exit(0)
        answers, _ = listener.accept()
        if os.fork():
            answers.close()
            _reap()
            continue
        listener.close()
        size, descriptors, _, _ = socket.recv_fds(answers, 4, 3)
        order = json.loads(_exactly(answers, int.from_bytes(size, signed=True)))
        child = os.fork()
        if not child:
            answers.close()
            return _become(order, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        answers.sendall(_packed(child))
        status = os.waitpid(child, 0)[1]
        answers.sendall(_packed(os.waitstatus_to_exitcode(status)))
        os._exit(0)


def _reap() -> None:
    """Let go of those who have waited for a program to its end."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _become(order: dict[str, Any], descriptors: Sequence[int]) -> list[str]:
    """Take on the surroundings of an order; return its arguments."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    time.tzset()
    arguments: list[str] = order["arguments"]
    return arguments


def _carry_out(arguments: Sequence[str]) -> None:
    """Be the program."""
    from claude_batch.__main__ import main  # noqa: PLC0415  # loaded by now

    sys.argv = ["claude-batch", *arguments]
    try:
        main()
    except SystemExit as end:
        _codes.append(end.code)
        raise


_codes: list[object] = []
"""The exit code, once it is known."""


def _leave_at_once() -> None:
    """End the process without letting go of all that it has loaded: that takes 70 ms.

    What Python does at an end otherwise has been done by now, but for the warnings of files that
    nobody has closed. A stdout that cannot be flushed is left to Python.
    """
    if _codes and isinstance(_codes[0], int):
        with suppress(OSError, ValueError):
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(_codes[0])


if __name__ == "__main__":
    atexit.register(_leave_at_once)  # the first that is registered is the last that is called
    _load()
    _carry_out(_orders(sys.argv[1]))
