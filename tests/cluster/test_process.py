"""The process that works on a shard: it stops as asked, and dies with the one that wants it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.program import environment, wait_for

pytestmark = pytest.mark.whole

PARENT = """
import signal, sys, _thread, threading
from claude_batch.cluster.process import run_claude_batch
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as in Ray's workers
if "--cancel" in sys.argv:
    sys.argv.remove("--cancel")
    threading.Thread(target=lambda: (sys.stdin.read(1), _thread.interrupt_main())).start()
end = run_claude_batch(sys.argv[1:])
print(end.code)
print(end.said)
"""


def parent(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, *arguments],
        env=environment(folder),
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def children(process: int) -> list[int]:
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in found.split()]


def serves(process: int) -> bool:
    """Return whether a process is the program, past what launches it."""
    with suppress(OSError):
        words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        return b"claude_batch" in words and b"sandbox" in words
    return False


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that wants a sandbox to serve, which goes on until it is stopped."""
    process = parent(tmp_path, "--cancel", "sandbox", "--port", "0")
    wait_for(lambda: any(map(serves, children(process.pid))))
    yield process
    process.kill()
    process.communicate()


def test_how_it_ends_and_what_it_said_last_is_returned(tmp_path: Path) -> None:
    printed, _ = parent(tmp_path, "run", "nowhere.jsonl").communicate()
    code, said = printed.decode().split("\n", 1)
    assert code == "2"
    assert said.startswith("error: nowhere.jsonl: ")


def test_it_is_stopped_as_ctrl_c_does_though_that_is_blocked_here(
    serving: subprocess.Popen[bytes],
) -> None:
    (child,) = children(serving.pid)
    printed, _ = serving.communicate(b"x")
    code = printed.decode().split("\n", 1)[0]
    assert code in {
        "0",
        "130",
    }  # stopped, perhaps while it started; not killed
    assert not serves(child)


def test_it_ends_when_the_process_that_wants_it_is_killed(
    serving: subprocess.Popen[bytes],
) -> None:
    (child,) = children(serving.pid)
    os.kill(serving.pid, signal.SIGKILL)
    wait_for(lambda: not serves(child))
