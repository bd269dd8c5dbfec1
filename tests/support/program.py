"""The program as a user starts it: in a process of its own, away from the user's own settings."""

from __future__ import annotations

import json
import os
import select
import selectors
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import forking

ROOT = Path(__file__).parents[2]
ENOUGH_S = 300
"""Seconds that anything may take on a busy machine: only what hangs takes longer."""
_NEXT = "  next: "


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment without credentials, whose home is `folder`.

    The program is the one that lies beside these tests, whatever is installed.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
    program = str(Path(sys.executable).parent)
    return {
        **kept,
        "PATH": f"{program}{os.pathsep}{kept.get('PATH', '')}",
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder / "state"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONWARNINGS": "error",
        **more,
        "PYTHONPATH": os.pathsep.join(filter(None, (more.get("PYTHONPATH"), str(ROOT)))),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """claude-batch in one folder."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(
        self, *arguments: str, stdin: bytes = b"", fresh: bool = False, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end."""
        program = self.start(*arguments, stdin=stdin, fresh=fresh, **variables)
        printed, said = program.communicate(timeout=ENOUGH_S)
        return subprocess.CompletedProcess([*arguments], program.returncode, printed, said)

    def shell(self, script: str, *, fresh: bool = False) -> subprocess.CompletedProcess[bytes]:
        """Run a pipeline in which `claude-batch` is the program; it fails where any part does."""
        variables = environment(self.folder, **self.variables)
        if not fresh and not _tells_python(self.variables):
            variables["PATH"] = f"{forking.folder_of_command()}{os.pathsep}{variables['PATH']}"
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {script}"],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            check=False,
            timeout=ENOUGH_S,
        )

    def start(
        self, *arguments: str, stdin: bytes = b"", fresh: bool = False, **variables: str
    ) -> Started:
        """Start it and return at once.

        It is forked, unless a `fresh` interpreter is asked for or the variables concern Python.
        """
        variables = self.variables | variables
        fresh = fresh or _tells_python(variables)
        variables = environment(self.folder, **variables)
        return _start(arguments, self.folder, variables, stdin, fresh=fresh)

    @staticmethod
    def command(arguments: Sequence[str]) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "claude_batch", *arguments]


def _tells_python(variables: Mapping[str, str]) -> bool:
    return any(name.startswith("PYTHON") for name in variables)


@dataclass(slots=True, kw_only=True)
class Started:
    """A program that has been started; what it has of `subprocess.Popen` does the same."""

    process: subprocess.Popen[bytes] | forking.Forked
    stdin: int
    stdout: int
    stderr: int
    unwritten: bytes
    printed: tuple[bytes, bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self.process.pid

    @property
    def returncode(self) -> int:
        """How it has ended."""
        code = self.process.poll()
        assert code is not None, "it still runs"
        return code

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self.process.poll()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = ENOUGH_S) -> tuple[bytes, bytes]:
        """Write its stdin, read what it prints, and wait for its end; kill it if that is late."""
        try:
            if self.printed is None:
                self.printed = self._exchange(time.monotonic() + timeout)
            self.process.wait(timeout)
        except BaseException:
            self.kill()
            raise
        return self.printed

    def _exchange(self, ends: float) -> tuple[bytes, bytes]:
        read: dict[int, list[bytes]] = {self.stdout: [], self.stderr: []}
        with selectors.DefaultSelector() as streams:
            streams.register(self.stdin, selectors.EVENT_WRITE)
            for descriptor in read:
                streams.register(descriptor, selectors.EVENT_READ)
            while streams.get_map():
                ready = streams.select(ends - time.monotonic())
                if not ready:
                    raise subprocess.TimeoutExpired("claude-batch", ENOUGH_S)
                for key, _ in ready:
                    if key.fd == self.stdin:
                        more = self._write()
                    else:
                        piece = os.read(key.fd, 1 << 16)
                        read[key.fd].append(piece)
                        more = bool(piece)
                    if not more:
                        streams.unregister(key.fd)
                        os.close(key.fd)
        return b"".join(read[self.stdout]), b"".join(read[self.stderr])

    def _write(self) -> bool:
        """Write some of its stdin; say whether there is more."""
        some = self.unwritten[: select.PIPE_BUF]  # as much as never blocks
        with suppress(BrokenPipeError):
            self.unwritten = self.unwritten[os.write(self.stdin, some) :]
            return bool(self.unwritten)
        return False


def _start(
    arguments: Sequence[str], folder: Path, variables: dict[str, str], stdin: bytes, *, fresh: bool
) -> Started:
    (to_read, to_write), (stdout, out), (stderr, err) = (os.pipe() for _ in range(3))
    process: subprocess.Popen[bytes] | forking.Forked
    if fresh:
        process = subprocess.Popen(
            Program.command(arguments),
            cwd=folder,
            env=variables,
            stdin=to_read,
            stdout=out,
            stderr=err,
        )
    else:
        process = forking.start(
            arguments, folder=folder, environment=variables, descriptors=(to_read, out, err)
        )
    for given in (to_read, out, err):
        os.close(given)
    return Started(process=process, stdin=to_write, stdout=stdout, stderr=stderr, unwritten=stdin)


@dataclass(frozen=True, slots=True)
class Served:
    """A sandbox in a process of its own."""

    url: str

    def stats(self) -> dict[str, Any]:
        """Return what it has seen."""
        with urllib.request.urlopen(f"{self.url}/sandbox/stats", timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
            stats: dict[str, Any] = json.load(answer)
        return stats

    def requests(self) -> dict[str, tuple[int, int]]:
        """Return, for each body it has seen, how often it arrived and was answered 200."""
        with urllib.request.urlopen(f"{self.url}/sandbox/requests", timeout=ENOUGH_S) as answer:  # noqa: S310  # loopback
            counts: dict[str, tuple[int, int]] = json.load(answer)
        return counts

    @property
    def variables(self) -> dict[str, str]:
        """What points a client at it."""
        return {"ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": "sandbox-key"}


@contextmanager
def served(folder: Path, scenario: str = "") -> Iterator[Served]:
    """Serve a sandbox that behaves as the TOML in `scenario` says.

    What it says goes to a file, since nobody reads along: a full pipe would halt it. It has to
    tell its address there, and no trouble.
    """
    path, said = folder / "scenario.toml", folder / "sandbox.stderr"
    path.write_text(scenario)
    with said.open("wb") as stderr, Path(os.devnull).open("r+b") as null:
        process = forking.start(
            ["sandbox", "--port", "0", "--scenario", str(path)],
            folder=folder,
            environment=environment(folder),
            descriptors=(null.fileno(), null.fileno(), stderr.fileno()),
        )
    try:
        wait_for(lambda: _NEXT in said.read_text() or process.poll() is not None)
        yield Served(_url(said.read_text()))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(ENOUGH_S)
    trouble = said.read_text().partition(_NEXT)[2]
    assert len(trouble.splitlines()) == 1, trouble


def _url(announcement: str) -> str:
    """Return the address the sandbox tells."""
    found = [word for word in announcement.split() if word.startswith("http://127.0.0.1:")]
    if not found:
        raise AssertionError(f"the sandbox told no address: {announcement}")
    return found[0].rstrip(".,")


def takes_signals(process: int) -> bool:
    """Tell whether a process has come so far that it catches SIGTERM: Python itself does not."""
    said = Path(f"/proc/{process}/status").read_text()
    caught = next(line for line in said.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def wait_for(condition: Any) -> None:
    """Return when `condition()` holds: for what happens in another process."""
    ends = time.monotonic() + ENOUGH_S
    while not condition():
        if time.monotonic() > ends:
            raise AssertionError("it did not happen in time")
        time.sleep(0.01)
