"""A run folder on Ray, and what can be killed of it: the command, Ray's processes, those of shards.

Processes are found in /proc by what they belong to: others on this machine may run Ray, too.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.killing import lines_of
from tests.support.program import Program, Served, Started, wait_for

RUN = "out"
_SOME = 5
"""Results after which a shard is well under way, and far from its end."""


def write_shards(folder: Path, shards: int, lines: int) -> None:
    """Write a file of prompts per shard, in/s1.jsonl and so on: no other folder has the same."""
    (folder / "in").mkdir()
    for shard in range(1, shards + 1):
        prompts = (f'"{folder.name} s{shard}, {line}?"\n' for line in range(1, lines + 1))
        (folder / f"in/s{shard}.jsonl").write_text("".join(prompts))


@dataclass(slots=True, kw_only=True)
class RayRun:
    """A command with --on ray in `program.folder`, against `sandbox`."""

    program: Program
    sandbox: Served
    workers: int = 4
    flags: Sequence[str] = ()
    process: Started | None = None
    said: str = ""
    _twice_before: int = field(init=False)
    _stopped: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Note what was paid twice before."""
        self._twice_before = self._served_twice()

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.program.folder / RUN

    def start(self) -> None:
        """Start the command, or repeat it."""
        command = ("run", "in", "--out", f"{RUN}/", "--on", "ray", "--workers", str(self.workers))
        self.process = self.program.start(*command, "--progress", "plain", *self.flags, fresh=True)

    def end(self) -> int:
        """Wait until the command ends; return its exit code."""
        assert self.process is not None
        _, said = self.process.communicate()
        self.said += said.decode()
        return self.process.returncode

    def wait_for_results(self, count: int) -> None:
        """Wait until there are so many results in all."""
        wait_for(lambda: len(self.ids()) >= count)

    def two_at_work(self) -> tuple[int, int]:
        """Wait until two shards have some results each; return those with the fewest."""
        found: list[int] = []

        def look() -> bool:
            results = Counter(int(each[1 : each.index(".")]) for each in self.ids())
            at_work = [shard for shard in self.shard_processes() if results[shard] >= _SOME]
            found[:] = sorted(at_work, key=results.__getitem__)[:2]
            return len(found) == 2

        wait_for(look)
        return found[0], found[1]

    def shard_processes(self) -> dict[int, int]:
        """Return the processes that work on shards of this folder."""
        found = {}
        for process, words in _command_lines():
            if str(self.path) in words and "--shard" in words and "claude_batch" in words:
                found[int(words[words.index("--shard") + 1])] = process
        return found

    def worker_of(self, shard: int) -> int:
        """Return the Ray worker whose child works on a shard."""
        return _parent(self.shard_processes()[shard])

    def node(self) -> int:
        """Return Ray's node process."""
        assert self.process is not None
        children = [each for each, _ in _command_lines() if _parent(each) == self.process.pid]
        return next(each for each in children if _name(each) == "raylet")

    def ids(self) -> Counter[str]:
        """Return the ids in the results that count: of each shard those of its latest holder."""
        ids: Counter[str] = Counter()
        for shard in (self.path / "shards").glob("*"):
            results = sorted(shard.glob("*.results.jsonl"), key=_epoch)
            ids.update(lines_of(results[-1]) if results else ())
        return ids

    def stop_process(self, process: int) -> None:
        """Stop a process as Ctrl-Z does."""
        os.kill(process, signal.SIGSTOP)
        self._stopped.append(process)

    def continue_stopped(self) -> None:
        """Let stopped processes go on, those that are still there."""
        for process in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        self._stopped.clear()

    def close(self) -> None:
        """End whatever is left, by its id."""
        self.continue_stopped()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        for process in self.shard_processes().values():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def paid_twice(self) -> int:
        """Return how many answers were served more than once, since this was made."""
        return self._served_twice() - self._twice_before

    def _served_twice(self) -> int:
        return sum(served - 1 for _, served in self.sandbox.requests().values() if served > 1)

    def wait_for_silence(self) -> None:
        """Wait until no process works on a shard any more."""
        wait_for(lambda: not self.shard_processes())


def _command_lines() -> list[tuple[int, list[str]]]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            found.append((int(path.name), words))
    return found


def _parent(process: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _name(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/comm").read_text().strip()
    return ""


def _epoch(results: Path) -> int:
    return int(results.name.partition(".")[0])
