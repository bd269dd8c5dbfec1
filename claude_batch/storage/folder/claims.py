"""Claims on shards as files: claims/0017-3 is the third. Its holder touches it while it works."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from pathlib import Path
from typing import assert_never

import orjson

from claude_batch.core.shards.claims import LOOK_EVERY_S, SILENT_S, Claim, is_superseded
from claude_batch.core.shards.names import shard_name
from claude_batch.errors import CheckpointLockedError
from claude_batch.storage.folder.files import FolderFiles, Held, folder_gone
from claude_batch.storage.objects.errors import StoreError
from claude_batch.storage.run.paths import MANIFEST

CLAIMS = "claims"

_TICK_S = 1.0
"""How often a holder looks whether storage is late, in seconds."""

_STOPPED_S = 5.0
"""A thread that wakes this late, in seconds, belongs to a process that was stopped."""

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


class Loss(Enum):
    """Why a claim counts no more."""

    SUPERSEDED = "another has claimed the shard since"
    GONE = "there is no run folder any more"
    SILENT = "storage does not answer"


@dataclass(slots=True, kw_only=True)
class HeldClaim:
    """The claim of this process on a shard; a thread looks whether it is still the latest.

    `when_lost` is called once, from a thread, when there is a later one, when the run folder is
    gone, or when storage has not answered for so long that others may take this process for dead.
    A second thread finds that out though a call to storage never returns.
    """

    files: FolderFiles
    shard: int
    epoch: int
    held: Held
    max_cost_usd: float | None = None
    when_lost: Callable[[], object] | None = None
    lost: Loss | None = None
    _stopped_s: float = 0.0
    _looked_at: float = field(default_factory=time.monotonic)
    _begun: int = 0
    _finished: int = 0
    _wanted: int = 0
    _is_closed: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def open(self) -> None:
        """Begin to look."""
        for target, name in ((self._look_again, "claim"), (self._watch, "claim-watch")):
            threading.Thread(target=target, name=name, daemon=True).start()

    def look(self, now: float) -> bool:
        """Return whether the claim still counts, and show that this process lives.

        `now` is monotonic time. What storage answers when the claim is lost counts no more.
        """
        if self.is_lost:
            return False
        try:
            superseded = is_superseded(self.epoch, _latest(self.files, _begin(self.shard)))
            if not self.files.exists(MANIFEST):
                self._lose(Loss.GONE)
            elif superseded:
                self._lose(Loss.SUPERSEDED)
            else:
                self.held.touch()
                self._looked_at, self._stopped_s = now, 0.0
        except (OSError, StoreError):
            if now - self._looked_at > SILENT_S:
                self._lose(Loss.SILENT)
        return not self.is_lost

    @property
    def is_lost(self) -> bool:
        """Whether the claim counts no more."""
        return self.lost is not None

    def refuse_lost(self) -> None:
        """Refuse to go on after another process has, or may have, taken the shard over.

        Raises CheckpointLockedError; FolderGoneError where there is no run folder any more.
        """
        with self._changed:
            wanted = self._wanted = self._begun + 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.is_lost or self._finished >= wanted)
        match self.lost:
            case None:
                return
            case Loss.GONE:
                raise folder_gone(self.files.place)
            case Loss.SUPERSEDED:
                why = "this one had not been heard of"
                if self._stopped_s:
                    why = f"this one did not run for {self._stopped_s:.0f} s"
                raise CheckpointLockedError(
                    f"shard {self.shard} was taken over by another process: {why}",
                    hint="nothing is lost: the other one has what was done, and does the rest",
                )
            case Loss.SILENT:
                raise CheckpointLockedError(
                    f"the storage of the run folder has not answered for {SILENT_S:.0f} s: another "
                    f"process may have taken shard {self.shard} over",
                    hint="nothing is lost: when it answers again, run the same command again",
                )
            case never:
                assert_never(never)

    def close(self) -> None:
        """Let go of the shard; others need not be shown that for longer than they would wait."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        end = threading.Thread(target=self.held.let_go, name="claim-end", daemon=True)
        end.start()
        end.join(0.0 if self.is_lost else max(0.0, self._left_s()))

    def _look_again(self) -> None:
        """Look now and then, and when it is wanted, until the claim is lost or closed."""
        while True:
            with self._changed:
                self._changed.wait_for(self._is_wanted, LOOK_EVERY_S)
                if self._is_closed or self.is_lost:
                    return
                self._begun += 1
            self.look(time.monotonic())
            with self._changed:
                self._finished = self._begun
                self._changed.notify_all()

    def _is_wanted(self) -> bool:
        return self._is_closed or self.is_lost or self._wanted > self._begun

    def _watch(self) -> None:
        """Give up the claim when storage has not answered for too long.

        A process that was stopped (Ctrl-Z, a host that slept) has not asked: it looks first.
        """
        with self._changed:
            while not (self._is_closed or self.is_lost):
                left_s = self._left_s()
                if left_s < 0:
                    break
                began_at, wait_s = time.monotonic(), min(left_s, _TICK_S)
                self._changed.wait(wait_s)
                self._excuse(time.monotonic() - began_at - wait_s)
            if self._is_closed:
                return
        self._lose(Loss.SILENT)

    def _excuse(self, late_s: float) -> None:
        """Give storage time to answer after this process has not run for `late_s` seconds."""
        if late_s < _STOPPED_S:
            return
        self._stopped_s = late_s
        self._looked_at = max(self._looked_at, time.monotonic() - SILENT_S + LOOK_EVERY_S)
        self._wanted = self._begun + 1
        self._changed.notify_all()

    def _left_s(self) -> float:
        """Return how long others will still take this process for alive."""
        return self._looked_at + SILENT_S - time.monotonic()

    def _lose(self, why: Loss) -> None:
        """Note that the claim counts no more, and call whoever is to stop."""
        with self._changed:
            if self.is_lost:
                return
            self.lost = why
            self._changed.notify_all()
        if self.when_lost is not None:
            self.when_lost()


def held_by_another(shard: int, by: str, free_in_s: float) -> CheckpointLockedError:
    """Return the error that another process works on a shard."""
    return CheckpointLockedError(
        f"shard {shard} is being worked on by {by}",
        hint="wait for it, or stop it; when nothing is heard of it, the same command takes its "
        f"shard over in {free_in_s:.0f} s at the earliest",
    )
