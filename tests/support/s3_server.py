"""moto in server mode: S3 that others have written, on a loopback port.

It lives in an environment of its own, installed by .ci/run from tests/support/moto.txt.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from tests.support.program import ENOUGH_S
from tests.support.redis_server import free_port, skip_or_fail

_REQUEST = re.compile(r'"(?:\x1b\[[\d;]*m)*([A-Z]+) /')
_READY = "Running on"
_STRICT = {"INITIAL_NO_AUTH_ACTION_COUNT": "0"}
SECRET = "s3cr3t-of-the-tests"


def _program() -> str:
    """Return where the program is; skip where it is not installed."""
    beside = Path(sys.prefix) / "moto/bin/moto_server"
    found = str(beside) if beside.exists() else shutil.which("moto_server")
    if found is None:
        skip_or_fail("moto is not installed: object storage is not tested here")
    return found


@dataclass(frozen=True, slots=True)
class S3Server:
    """The server, running. It takes any credentials."""

    url: str
    process: subprocess.Popen[str]
    requests: Counter[str] = field(default_factory=Counter)
    """How many there were, by method; LIST is one, too."""

    def count(self, log: Iterable[str]) -> None:
        """Count the requests in what it says."""
        for line in log:
            if found := _REQUEST.search(line):
                self.requests["LIST" if "list-type=" in line else found[1]] += 1

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Answer nothing while a block runs."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which a program finds it."""
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
        }

    def make_bucket(self, name: str) -> None:
        """Create a bucket; its name has three characters or more."""
        self._ask("PUT", name)

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Create an object, or replace it."""
        self._ask("PUT", f"{bucket}/{quote(key)}", content)

    def get(self, bucket: str, key: str) -> bytes:
        """Return what is in an object."""
        return self._ask("GET", f"{bucket}/{quote(key)}")

    def keys(self, bucket: str, prefix: str) -> list[str]:
        """Return the keys of at most 1,000 objects."""
        listing = self._ask("GET", f"{bucket}?list-type=2&prefix={quote(prefix)}").decode()
        return re.findall(r"<Key>([^<]*)</Key>", listing)

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object."""
        self._ask("DELETE", f"{bucket}/{quote(key)}")

    def _ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        scope = "testing/20260101/us-east-1/s3/aws4_request"
        signed = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"
        headers = {"Authorization": signed, "Content-Type": "application/octet-stream"}
        request = Request(f"{self.url}/{path}", content, headers, method=method)  # noqa: S310  # loopback
        with urlopen(request, timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
            body: bytes = answer.read()
        return body


@contextmanager
def s3_server(*, checks_keys: bool = False) -> Iterator[S3Server]:
    """Run the server; it is yielded once it answers. If it `checks_keys`, it refuses all."""
    port = free_port()
    process = subprocess.Popen(
        [_program(), "-H", "127.0.0.1", "-p", str(port)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            **(_STRICT if checks_keys else {}),
        },
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
            raise AssertionError(f"moto did not start: {''.join(said)}")
        server = S3Server(f"http://127.0.0.1:{port}", process)
        reading = threading.Thread(target=server.count, args=(process.stderr,), daemon=True)
        reading.start()  # a full pipe would stop it
        yield server
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(ENOUGH_S)
        if process.stderr is not None:
            reading.join()
            process.stderr.close()
