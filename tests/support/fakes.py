"""Stand-ins for what the engine needs from outside: in memory, on the loop's clock, exact."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import orjson

from claude_batch.core.batch.reserve import AnswerLengths, BatchPrice, Budget
from claude_batch.core.model.account import NO_LIMITS
from claude_batch.core.model.adjustment import Adjustment, Bounds
from claude_batch.core.model.events import Event
from claude_batch.core.model.requests import (
    Failure,
    FailureKind,
    LimitKind,
    Reply,
    Request,
    ResponseHeaders,
    Result,
    Usage,
)
from claude_batch.core.model.sharing import Claim, Grant
from claude_batch.core.scheduling.pool import EndpointSpec
from claude_batch.core.scheduling.scheduler import SchedulerSettings


def a_request(line: int = 1, *, model: str = "claude-haiku-5-5", max_tokens: int = 100) -> Request:
    """Return a request that says nothing special."""
    return Request(
        custom_id=f"line-{line}",
        line=line,
        model=model,
        max_tokens=max_tokens,
        body=orjson.dumps({"model": model, "line": line}),
        input_tokens=20,
    )


def a_reply(*, input_tokens: int = 20, output_tokens: int = 10) -> Reply:
    """Return a plain answer."""
    return Reply(
        message=b'{"type":"message","content":[]}',
        usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens),
        stop_reason="end_turn",
    )


def free(_request: Request, _tokens: float = 0.0) -> BatchPrice:
    """Return the price of a request where none matters."""
    return BatchPrice(0.0, 0.0)


UNBOUNDED = Budget(price=free, can_afford=lambda _usd: True, lengths=AnswerLengths())
"""A budget that allows everything."""


def a_failure(
    kind: FailureKind,
    *,
    message: str = "no",
    retry_after_s: float | None = None,
    limit: LimitKind | None = None,
    headers: ResponseHeaders | None = None,
) -> Failure:
    """Return a failure of one kind."""
    return Failure(
        kind=kind,
        error=b'{"type":"error","error":{"type":"x","message":"no"}}',
        error_type=kind.value,
        message=message,
        limit=limit,
        headers=headers or ResponseHeaders(retry_after_s=retry_after_s),
    )


Script = Callable[[Request, int], Reply | Failure]
"""What the n-th try (from 1) at a request brings."""


@dataclass
class ScriptedTransport:
    """Answers by script after `latency_s`; remembers when each try began."""

    script: Script = lambda _request, _try: a_reply()
    latency_s: float = 1.0
    name: str = "fake"
    tries: Counter[str] = field(default_factory=Counter)
    began: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        loop = asyncio.get_running_loop()
        self.began.append(loop.time())
        self.tries[request.custom_id] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(min(self.latency_s, timeout_s))
            return self.script(request, self.tries[request.custom_id])
        finally:
            self.in_flight -= 1


@dataclass
class ListedSource:
    """Requests from a list, a few at a time."""

    requests: list[Request]
    at_once: int = 100

    async def read(self) -> Sequence[Request]:
        await asyncio.sleep(0)
        chunk, self.requests = self.requests[: self.at_once], self.requests[self.at_once :]
        return chunk


@dataclass
class MemoryStore:
    """Results kept in memory; each commit takes `sync_s`."""

    results: list[Result] = field(default_factory=list)
    commits: int = 0
    sync_s: float = 0.005

    async def commit(self, results: Sequence[Result]) -> None:
        await asyncio.sleep(self.sync_s)
        self.results.extend(results)
        self.commits += 1


@dataclass
class MemoryLog:
    """Events kept in memory."""

    events: list[Event] = field(default_factory=list)

    async def note(self, events: Sequence[Event]) -> None:
        self.events.extend(events)


def scheduler_settings(**changes: object) -> SchedulerSettings:
    """Return settings of one endpoint without limits, prices or chance, with `changes`."""
    settings = SchedulerSettings(
        endpoints=(EndpointSpec(name="default"),),
        model_class_of=lambda model: model,
        initial_limits=lambda _model: NO_LIMITS,
        most_usd=lambda _request, _input_tokens: 0.0,
        rng=steady_draw,
        bounds=Bounds(concurrency=100),
    )
    own = {each.name for each in fields(Bounds)}
    bounds = {name: value for name, value in changes.items() if name in own}
    others = {name: value for name, value in changes.items() if name not in own}
    settings = replace(settings, **others)  # type: ignore[arg-type]
    return replace(settings, bounds=replace(settings.bounds, **bounds))  # type: ignore[arg-type]


@dataclass
class ScriptedAdjustments:
    """Changes that a user asks for, each at its time; `applied_at` is when the run took it."""

    script: list[tuple[float, Adjustment]] = field(default_factory=list)
    applied_at: list[float] = field(default_factory=list)

    async def next(self) -> Adjustment:
        loop = asyncio.get_running_loop()
        if not self.script:
            await loop.create_future()
        at, wanted = self.script.pop(0)
        await asyncio.sleep(max(0.0, at - loop.time()))
        return wanted

    def applied(self) -> None:
        self.applied_at.append(asyncio.get_running_loop().time())


def steady_draw() -> float:
    """Chance that is none: the middle of its range."""
    return 0.5


def noisy(text: str) -> float:
    """Return a number in [0, 1) that only depends on `text`."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / (1 << 56)


def asking(what: str, line: int) -> Request:
    """Return the request of a line that asks `what`."""
    return Request(
        custom_id=f"id-{line}",
        line=line,
        model="claude-haiku-5-5",
        max_tokens=100,
        body=orjson.dumps({"messages": [{"role": "user", "content": what}]}),
        input_tokens=10,
    )


def file_of(*prompts: str) -> list[Request]:
    """Return the requests of a file with these prompts."""
    return [asking(what, line) for line, what in enumerate(prompts, start=1)]


@dataclass
class FakeLease:
    """Grants by script: what the n-th claim (from 1) brings; None: it cannot be reached."""

    grants: Callable[[int], Grant | None]
    claims: list[Claim] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    async def renew(self, claim: Claim) -> Grant | None:
        """Return what the script says."""
        self.claims.append(claim)
        return self.grants(len(self.claims))

    async def leave(self, number: int) -> None:
        """Remember who has left."""
        self.left.append(number)
