"""What a run and other commands of its user say to each other, in two small files beside it.

    RESULTS.live     by the run, once a second: who works on it, the latest snapshot, its answers
                     to the latest requests; gone when the run has ended
    RESULTS.adjust   by `adjust`: what should change; the run takes it away

Both are replaced as a whole, readable by their owner alone, and read only if they belong to the
user who reads them. A request names the run and the very process it is for, so that one that was
left behind changes nothing later.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from claude_batch.core.model.snapshot import Snapshot
from claude_batch.storage.files import beside, open_new
from claude_batch.storage.run.snapshots import snapshot_of, to_json

FRESH_S = 5.0
"""A run that has said nothing for so long, in seconds, has ended or is stopped: it speaks once a
second. From another host nothing else shows that it goes."""

_LARGEST = 1 << 24
"""Bytes of such a file at most: a run of a thousand batches takes some hundred thousand."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What should change: options by name (None: unset), and whether to pause or continue.

    `token` is that of the process it is for.
    """

    id: str
    run_id: str
    token: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    pause: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of the request `id`: `refusal` says why it was refused, with what to do next."""

    id: str
    refusal: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """What a run says of itself. `at` is when; without a snapshot nothing has been sent yet.

    `answers` are the latest ones.
    """

    run_id: str
    token: str
    process: int
    host: str
    at: float
    snapshot: Snapshot | None = None
    answers: tuple[Answer, ...] = ()

    @property
    def is_here(self) -> bool:
        """Whether the run is on this host."""
        return self.host == socket.gethostname()


class NotOursError(OSError):
    """A file in the place of one of these belongs to another user, or others may write to it."""


def live_path(results: Path) -> Path:
    """Return where a run says what it does."""
    return beside(results, ".live")


def request_path(results: Path) -> Path:
    """Return where a run is asked to change something."""
    return beside(results, ".adjust")


def publish(results: Path, state: LiveState) -> None:
    """Say what a run does; lasts as long as the process. Raises OSError, CheckpointWriteError."""
    head = {
        "run_id": state.run_id,
        "token": state.token,
        "process": state.process,
        "host": state.host,
        "at": state.at,
        "answers": state.answers,
        "snapshot": None if state.snapshot is None else orjson.Fragment(to_json(state.snapshot)),
    }
    _replace(live_path(results), orjson.dumps(head))


def read_live(results: Path) -> LiveState | None:
    """Return what a run says of itself; None where none says anything readable.

    Raises NotOursError.
    """
    found = _read(live_path(results))
    try:
        snapshot = found["snapshot"]
        return LiveState(
            run_id=str(found["run_id"]),
            token=str(found["token"]),
            process=int(found["process"]),
            host=str(found["host"]),
            at=float(found["at"]),
            answers=tuple(Answer(**each) for each in found["answers"]),
            snapshot=None if snapshot is None else snapshot_of(snapshot),
        )
    except (KeyError, TypeError, ValueError):
        return None


def withdraw_live(results: Path) -> None:
    """Say no more: the run has ended."""
    for path in (live_path(results), request_path(results)):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def ask(results: Path, request: Request) -> bool:
    """Ask a run to change something; return False while an earlier request is not taken yet.

    Raises OSError, CheckpointWriteError.
    """
    path, part = request_path(results), beside(request_path(results), f".{request.id}")
    with open_new(part) as file:
        file.write(orjson.dumps(request))
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        part.replace(path)
        return True
    finally:
        part.unlink(missing_ok=True)
    return True


def withdraw(results: Path, request: Request) -> bool:
    """Take a request back; return whether the run had not taken it."""
    path = request_path(results)
    try:
        if _read(path).get("id") != request.id:
            return False
        path.unlink()
    except OSError:
        return False
    return True


def take_request(results: Path, *, run_id: str, token: str) -> Request | None:
    """Take the request that is there away and return it; None: there is none for this process.

    Raises NotOursError.
    """
    path = request_path(results)
    found = _read(path)
    if not found:
        return None
    with suppress(FileNotFoundError):
        path.unlink()
    try:
        request = Request(**found)
    except TypeError:
        return None
    is_whole = isinstance(found.get("id"), str) and isinstance(found.get("changes", {}), dict)
    is_whole = is_whole and isinstance(found.get("pause"), bool | None)
    return request if is_whole and (request.run_id, request.token) == (run_id, token) else None


def _replace(path: Path, data: bytes) -> None:
    """Put a file in the place of the last one; a power loss may undo it."""
    part = beside(path, ".part")
    with open_new(part) as file:
        file.write(data)
    part.replace(path)


def _read(path: Path) -> dict[str, Any]:
    """Return what a file of our own holds; nothing where there is none. Raises NotOursError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise NotOursError(error.errno, error.strerror, str(path)) from error
    with os.fdopen(fd, "rb") as file:
        facts = os.fstat(fd)
        ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
        if not ours or facts.st_mode & _OTHERS_WRITE:
            raise NotOursError(None, "belongs to another user, or others may write to it")
        raw = file.read(_LARGEST)
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
