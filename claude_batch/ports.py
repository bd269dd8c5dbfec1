"""What the engine needs from outside, as small Protocols. Adapters do not inherit from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from claude_batch.core.events import Event
from claude_batch.core.model import Failure, Reply, Request, Result
from claude_batch.core.snapshot import Snapshot


class Transport(Protocol):
    """One endpoint's door to the Messages API."""

    @property
    def name(self) -> str:
        """The endpoint's name, as results carry it."""

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        """Try `request` once, for `timeout_s` seconds in all. What the API answers is returned."""


class Source(Protocol):
    """The requests of a run that have no result yet, in file order."""

    async def read(self) -> Sequence[Request]:
        """Return the next few requests; none when the input has ended."""


class ResultStore(Protocol):
    """Where results become durable."""

    async def commit(self, results: Sequence[Result]) -> None:
        """Append `results`; once this returns, they outlive the process."""


class RunLog(Protocol):
    """Where the run's history is kept."""

    async def note(self, events: Sequence[Event]) -> None:
        """Append `events`; they are in the file, not necessarily on the disk, when this returns."""


class Clock(Protocol):
    """Two clocks behind one port."""

    def now(self) -> float:
        """Return monotonic seconds, for pacing."""

    def wall(self) -> float:
        """Return seconds since 1970, for what is stored."""


class Publish(Protocol):
    """Somebody who wants to see how the run stands."""

    def __call__(self, snapshot: Snapshot, /) -> None:
        """Take the latest snapshot; must return at once."""
