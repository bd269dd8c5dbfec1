"""llmock, a server of the Messages and the Chat Completions API that we have not written.

It lives in an environment of its own (it brings a pytest plugin), installed by .ci/run from
tests/support/llmock.txt.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.program import ENOUGH_S
from tests.support.redis_server import free_port, skip_or_fail

_READY = "Uvicorn running on"


def _program() -> str:
    """Return where the program is; skip where it is not installed."""
    beside = Path(sys.prefix) / "llmock/bin/llmock"
    found = str(beside) if beside.exists() else shutil.which("llmock")
    if found is None:
        skip_or_fail("llmock is not installed: no server of others is tested here")
    return found


@dataclass(frozen=True, slots=True)
class Llmock:
    """The server, running; it records every request, and judges the client."""

    url: str

    @property
    def anthropic(self) -> str:
        """Where it speaks the Messages API."""
        return f"{self.url}/anthropic"

    @property
    def openai(self) -> str:
        """Where it speaks Chat Completions."""
        return f"{self.url}/v1"

    def requests(self) -> list[dict[str, Any]]:
        """Return what has arrived."""
        requests: list[dict[str, Any]] = self._ask("requests")["requests"]
        return requests

    def verdict(self) -> dict[str, Any]:
        """Return what it thinks of the client: waits kept, errors retried or not, and so on."""
        return self._ask("verdict")

    def _ask(self, what: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/_llmock/{what}", timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
            value: dict[str, Any] = json.load(answer)
        return value


@contextmanager
def llmock_server(*flags: str) -> Iterator[Llmock]:
    """Run the server; it is yielded once it answers."""
    port = free_port()
    process = subprocess.Popen(
        [_program(), "serve", "--host", "127.0.0.1", "--port", str(port), *flags],
        env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if _READY in line:
                break
        else:
            raise AssertionError(f"llmock did not start: {''.join(said)}")
        yield Llmock(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.communicate()
