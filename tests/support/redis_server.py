"""A real redis-server on a free loopback port, that keeps nothing on disk."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

PROGRAM = "redis-server"
_READY = "Ready to accept connections"


def skip_or_fail(notice: str) -> NoReturn:
    """Skip for what is not installed here; on CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(notice)
    pytest.skip(notice)


@contextmanager
def redis_server(folder: Path, port: int | None = None) -> Iterator[str]:
    """Run a server, on a free port or this one; its URL is yielded once it answers."""
    if not shutil.which(PROGRAM):
        skip_or_fail(f"{PROGRAM} is not installed: the response cache in Redis is not tested here")
    port = free_port() if port is None else port
    process = subprocess.Popen(
        [
            *(PROGRAM, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--daemonize", "no"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if _READY in line:
                break
        else:
            raise AssertionError(f"{PROGRAM} did not start: {''.join(said)}")
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.communicate()


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
