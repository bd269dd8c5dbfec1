"""Bounds on a whole run: input held in memory, identical first failures, and cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from claude_batch.core.model.events import Expense
from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request, Usage
from claude_batch.core.scheduling.lane import Attempt, Job
from claude_batch.core.scheduling.retry import may_be_billed

READ_AHEAD_REQUESTS = 10_000
"""The most requests waiting in memory."""

READ_AHEAD_BYTES = 64_000_000
"""The most bytes of request bodies in memory."""

IDENTICAL_FAILURES = 20
"""A run stops when this many first requests are rejected in the same way."""

_VARYING = re.compile(r"\d+|req_\w+")
"""Parts of a message that differ between failures of one cause: numbers and request ids."""

T = TypeVar("T")


@dataclass(slots=True)
class Backlog:
    """Requests read from the input that have not ended; `more_to_come` until the input ends."""

    more_to_come: bool = True
    count: int = 0
    _bytes: int = 0

    def add(self, request: Request) -> None:
        """Count a request that has been read."""
        self.count += 1
        self._bytes += len(request.body)

    def remove(self, request: Request) -> None:
        """Count a request that will not be tried again."""
        self.count -= 1
        self._bytes -= len(request.body)

    def has_room(self, in_flight: int) -> bool:
        """Return whether more requests should be read from the input."""
        return (
            self.more_to_come
            and self.count - in_flight < READ_AHEAD_REQUESTS
            and self._bytes < READ_AHEAD_BYTES
        )


@dataclass(slots=True)
class FirstFailures(Generic[T]):
    """Holds rejected requests back until another outcome shows that not all fail identically.

    If the first all fail identically, the cause is not in the requests: the run can stop before
    it has recorded them as errored. Not `is_open` from the start where there are successes already.
    """

    is_open: bool = True
    held: list[T] = field(default_factory=list)
    _kind: tuple[str, str] | None = None

    def add(self, item: T, outcome: Reply | Failure) -> list[T]:
        """Return what may be recorded now; `item` itself may be held back."""
        if not self.is_open:
            return [item]
        if isinstance(outcome, Failure) and outcome.kind is FailureKind.REQUEST_REJECTED:
            kind = (outcome.error_type, _VARYING.sub("#", outcome.message))
            if self._kind in {None, kind}:
                self._kind = kind
                self.held.append(item)
                return []
        return [*self.release(), item]

    @property
    def should_stop(self) -> bool:
        """Whether enough have failed identically for the run to stop."""
        return self.is_open and len(self.held) >= IDENTICAL_FAILURES

    def release(self) -> list[T]:
        """Stop holding back, and return what was held."""
        self.is_open = False
        held, self.held = self.held, []
        return held


MostUsd = Callable[[Request, float], float]
"""The most that a request can cost (USD) if its prompt has this many tokens."""

UNPROVED_FACTOR = 2.0
"""How many times its estimate a prompt may have in tokens, before replies have shown it."""

PROVING_REPLIES = 20
"""Replies that show how far estimates are off."""

MARGIN = 1.1
"""From then on, how many times the highest share seen so far."""

OVERHEAD_TOKENS = 64
"""Tokens that the API may add to any prompt, however short."""


@dataclass(slots=True)
class InputBound:
    """The most tokens that prompts can have: estimates are not exact, replies show how far off."""

    _replies: int = 0
    _highest: float = 1.0

    def tokens(self, request: Request) -> float:
        """Return the most tokens that a prompt will have."""
        factor = UNPROVED_FACTOR if self._replies < PROVING_REPLIES else MARGIN * self._highest
        return max(factor, self._highest) * request.input_tokens + OVERHEAD_TOKENS

    def learn(self, estimated_tokens: float, usage: Usage) -> None:
        """Compare an estimate with what the API has counted."""
        self._replies += 1
        real = usage.prompt_tokens - OVERHEAD_TOKENS
        self._highest = max(self._highest, real / max(1, estimated_tokens))


@dataclass(slots=True, kw_only=True)
class Spending:
    """Money spent and, at its highest possible price, in flight: together at most `max_usd`.

    None: no bound; then nothing is reserved. `unreserved` attempts in flight were launched before
    there was one, at `bounded_at` the latest.
    """

    max_usd: float | None
    most_usd: MostUsd
    spent_usd: float = 0.0
    in_flight_usd: float = 0.0
    unreserved: int = 0
    bounded_at: float = 0.0
    _inputs: InputBound = field(default_factory=InputBound)

    def change(self, max_usd: float | None, *, in_flight: int, now: float) -> None:
        """Keep to another bound; a first one waits for the attempts that reserved nothing."""
        if max_usd is None:
            self.unreserved = 0
            self.in_flight_usd = 0.0
        elif self.max_usd is None:
            self.unreserved, self.bounded_at = in_flight, now
        self.max_usd = max_usd

    def reserve(self, job: Job) -> float | None:
        """Reserve and return the most that an attempt can cost; None if that does not fit.

        An answer that was lost with its process is taken to have cost as much as this one will.
        """
        if self.max_usd is None:
            return 0.0
        if self.unreserved:
            return None
        request = job.request
        usd = self.most_usd(request, self._inputs.tokens(request)) * (1 + job.lost)
        if self.spent_usd + self.in_flight_usd + usd <= self.max_usd:
            self.in_flight_usd += usd
            return usd
        return None

    def settle(
        self,
        attempt: Attempt,
        outcome: Reply | Failure,
        cost_usd: float | None,
        expense: Expense | None,
    ) -> None:
        """Replace what was reserved for an attempt by what it cost."""
        self.in_flight_usd = max(0.0, self.in_flight_usd - attempt.most_usd)
        if self.unreserved and attempt.charge.at <= self.bounded_at:
            self.unreserved -= 1
        if isinstance(outcome, Reply):
            self.spent_usd += cost_usd or 0.0
            if outcome.usage.is_reported:
                self._inputs.learn(attempt.job.request.input_tokens, outcome.usage)
        if expense is not None:
            self.spent_usd += (expense.cost_usd or 0.0) + expense.at_most_usd


def expense_of(
    attempt: Attempt, outcome: Reply | Failure, cost_usd: float | None
) -> Expense | None:
    """Return what an attempt cost, or may have cost, that no result will show; None: nothing.

    `cost_usd` is the price of what the API reported; None: not known.
    """
    usage, job = outcome.usage, attempt.job
    if isinstance(outcome, Reply):
        if cost_usd is None:
            return Expense(unreported=1 + job.lost, at_most_usd=attempt.most_usd)
        if not job.lost:
            return None
        return Expense(
            discarded=job.lost,
            input_tokens=usage.prompt_tokens * job.lost,
            output_tokens=usage.output_tokens * job.lost,
            cost_usd=cost_usd * job.lost,
        )
    if usage.is_reported:
        known = cost_usd is not None
        return Expense(
            discarded=1,
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=cost_usd,
            unreported=0 if known else 1,
            at_most_usd=0.0 if known else attempt.most_usd / (1 + job.lost),
        )
    if may_be_billed(outcome):
        return Expense(unreported=1, at_most_usd=attempt.most_usd / (1 + job.lost))
    return None
