"""Claims on shards as files: claims/0017-3 is the third. Its holder touches it while it works."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import orjson

from claude_batch.core.shards.claims import LOOK_EVERY_S, SILENT_S, Claim, is_superseded
from claude_batch.core.shards.names import shard_name
from claude_batch.errors import CheckpointLockedError
from claude_batch.storage.folder.files import FolderFiles, Held
from claude_batch.storage.objects.errors import StoreError

CLAIMS = "claims"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"(\d+)-(\d+)")


@cache
def _machine() -> str:
    """Return what this machine is called as long as it runs: hosts may share a name."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return socket.gethostname()


def read_claims(files: FolderFiles) -> dict[int, Claim]:
    """Return, by shard, the claims that count: on each, the one with the latest epoch."""
    return {each.shard: _read(files, each) for each in _latest(files, "")}


def claims_on(files: FolderFiles, shard: int) -> list[Claim]:
    """Return the claim on a shard that counts, if there is one."""
    return [_read(files, each) for each in _latest(files, _begin(shard))]


def _begin(shard: int) -> str:
    return f"{shard_name(shard)}-"


def _latest(files: FolderFiles, begin: str) -> Iterator[Claim]:
    """Yield, unread, the latest of the claims whose names begin so, for each shard."""
    latest: dict[int, Claim] = {}
    for name, silent_s in files.ages(CLAIMS, begin).items():
        if found := _NAME.fullmatch(name):
            shard, epoch = int(found[1]), int(found[2])
            if shard not in latest or latest[shard].epoch < epoch:
                latest[shard] = Claim(shard=shard, epoch=epoch, holder="", silent_s=silent_s)
    yield from latest.values()


def _read(files: FolderFiles, claim: Claim) -> Claim:
    """Return a claim with what its file says; of one that is over it does not matter."""
    if not claim.is_held:
        return replace(claim, is_over=True)
    name = f"{shard_name(claim.shard)}-{claim.epoch}"
    try:
        record = orjson.loads(files.read(f"{CLAIMS}/{name}") or b"")
        host, process, machine = str(record["host"]), int(record["process"]), record["machine"]
        max_cost_usd = record.get("max_cost_usd")
    except (ValueError, TypeError, KeyError):
        return replace(claim, holder="process 0 on unknown")
    return replace(
        claim,
        holder=f"process {process} on {host}",
        is_over=machine == _machine() and files.is_let_go(f"{CLAIMS}/{name}"),
        max_cost_usd=max_cost_usd,
    )


def take_claim(
    files: FolderFiles, shard: int, epoch: int, max_cost_usd: float | None
) -> HeldClaim | None:
    """Claim an epoch of a shard; return None if another was quicker."""
    record = {
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": os.getpid(),
        "at": time.time(),
        "max_cost_usd": max_cost_usd,
    }
    name = f"{CLAIMS}/{shard_name(shard)}-{epoch}"
    held = files.hold(name, orjson.dumps(record) + b"\n")
    if held is None:
        return None
    claim = HeldClaim(files=files, shard=shard, epoch=epoch, max_cost_usd=max_cost_usd, held=held)
    claim.open()
    return claim


@dataclass(slots=True, kw_only=True)
class HeldClaim:
    """The claim of this process on a shard; a thread looks whether it is still the latest.

    `when_lost` is called once, from that thread, when there is a later one, or when storage has not
    answered for so long that others may take this process for dead.
    """

    files: FolderFiles
    shard: int
    epoch: int
    held: Held
    max_cost_usd: float | None = None
    when_lost: Callable[[], object] | None = None
    is_lost: bool = False
    _looked_at: float = field(default_factory=time.monotonic)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._watch, name="claim", daemon=True)
        self._thread.start()

    def look(self, now: float) -> bool:
        """Return whether the claim still counts, and show that this process lives.

        `now` is monotonic time.
        """
        if self.is_lost:
            return False
        try:
            if is_superseded(self.epoch, _latest(self.files, _begin(self.shard))):
                self.is_lost = True
            else:
                self.held.touch()
                self._looked_at = now
        except (OSError, StoreError):
            self.is_lost = now - self._looked_at > SILENT_S
        return not self.is_lost

    def refuse_lost(self) -> None:
        """Refuse to go on after another process has taken the shard over.

        Raises CheckpointLockedError.
        """
        if not self.look(time.monotonic()):
            raise CheckpointLockedError(
                f"shard {self.shard} was taken over by another process: this one had not been "
                "heard of",
                hint="nothing is lost: the other one has what was done, and does the rest",
            )

    def close(self) -> None:
        """Let go of the shard."""
        self._ended.set()
        self.held.let_go()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            if not self.look(time.monotonic()):
                if self.when_lost is not None:
                    self.when_lost()
                return


def held_by_another(shard: int, by: str, free_in_s: float) -> CheckpointLockedError:
    """Return the error that another process works on a shard."""
    return CheckpointLockedError(
        f"shard {shard} is being worked on by {by}",
        hint="wait for it, or stop it; when nothing is heard of it, the same command takes its "
        f"shard over in {free_in_s:.0f} s at the earliest",
    )
