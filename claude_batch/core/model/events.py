"""What happens in a run, as values: figures are computed from them, the journal keeps some."""

from __future__ import annotations

from dataclasses import dataclass

from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.requests import FailureKind, LimitKind, Result, ResultType, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An attempt failed. `at` is wall time; `retry_in_s` is None when it is not retried.

    `limit` is the one that a 429 names.
    """

    at: float
    custom_id: str
    line: int
    kind: FailureKind
    what: str
    retry_in_s: float | None
    limit: LimitKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A result is on disk, durably. `at` is monotonic time.

    `degraded`: a fallback answered; `cached`: the answer was there already.
    """

    at: float
    type: ResultType
    usage: Usage
    cost_usd: float | None
    degraded: bool = False
    cached: bool = False
    stop_reason: str | None = None

    @classmethod
    def of(cls, result: Result, *, at: float) -> Recorded:
        """Return the event for `result`."""
        return cls(
            at=at,
            type=result.type,
            usage=result.usage,
            cost_usd=result.cost_usd,
            degraded=result.degraded,
            cached=result.cached,
            stop_reason=result.stop_reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """A lane launches nothing until `until` (wall time)."""

    at: float
    lane: str
    why: str
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """An endpoint is used from now on, or no more (an EndpointState); `why`, if that is known."""

    at: float
    endpoint: str
    state: str
    why: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expense:
    """What attempts cost, or may have cost, that no result shows.

    Tokens and `cost_usd` are those of the `discarded` ones, whose usage the API has reported, or is
    taken to be that of the answer that replaced theirs. `unreported` ones may have been charged:
    at most `at_most_usd`, as far as a bound made that known.
    """

    discarded: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    unreported: int = 0
    at_most_usd: float = 0.0

    def plus(self, other: Expense) -> Expense:
        """Return both together."""
        known = [each.cost_usd for each in (self, other) if each.cost_usd is not None]
        return Expense(
            discarded=self.discarded + other.discarded,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=sum(known) if known else None,
            unreported=self.unreported + other.unreported,
            at_most_usd=self.at_most_usd + other.at_most_usd,
        )


NO_EXPENSE = Expense()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """An `expense` for attempts of one request. `at` is wall time."""

    at: float
    custom_id: str
    line: int
    expense: Expense


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """Lines up to `line` may be in flight from now on: in the journal before they are sent."""

    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Canaries:
    """Requests sent live before their batch: in flight from now on, or, without any, ended."""

    requests: int = 0
    at_most_usd: float = 0.0


Event = Failed | Recorded | Waited | Switched | Minute | Spent | Launched | Canaries
