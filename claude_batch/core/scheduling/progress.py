"""Figures of a run, computed from its events: dashboard, status and summary all show these."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.events import NO_EXPENSE, Expense, Failed, Recorded, Spent
from claude_batch.core.model.minutes import Minute, length_s
from claude_batch.core.model.requests import UNFINISHED, LimitKind, ResultType, Usage
from claude_batch.core.model.snapshot import FailureView, LaneView, Phase, Snapshot, WaitKind
from claude_batch.core.scheduling.decisions import SchedulerStatus
from claude_batch.core.scheduling.minutes import LIMITED_KINDS, MinuteCounter

RATE_WINDOW_S = 60
"""Rates are means over this many seconds."""

LATEST_FAILURES = 5
"""How many of the latest failures a screen shows."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts of results: how they ended, tokens and cost; `priced` is how many have a cost.

    `degraded` counts answers of fallback endpoints, `output_errors` those that break their schema.
    An answer from the cache counts as a result, uses no tokens and costs nothing. `stops` counts
    answers that stopped before their end, by stop reason, `errors` errored results by the type of
    their error, as far as they were read back from a file. `expenses` is what attempts cost that no
    result shows: what is known of it is in the tokens and the cost.
    """

    ended: Counter[ResultType] = field(default_factory=Counter)
    priced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    degraded: int = 0
    output_errors: int = 0
    stops: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    expenses: Expense = NO_EXPENSE

    @property
    def done(self) -> int:
        """Requests with a result."""
        return self.ended.total()

    @property
    def failed(self) -> int:
        """Requests whose result is not a success."""
        return self.done - self.ended[ResultType.SUCCEEDED]

    def add(self, kind: ResultType, usage: Usage, cost_usd: float | None) -> None:
        """Count one more result."""
        self.ended[kind] += 1
        self.input_tokens += usage.prompt_tokens
        self.output_tokens += usage.output_tokens
        if cost_usd is not None:
            self.priced += 1
            self.cost_usd = (self.cost_usd or 0.0) + cost_usd

    def add_expense(self, expense: Expense) -> None:
        """Count what attempts without a result have cost."""
        self.input_tokens += expense.input_tokens
        self.output_tokens += expense.output_tokens
        if expense.cost_usd is not None:
            self.cost_usd = (self.cost_usd or 0.0) + expense.cost_usd
        self.expenses = self.expenses.plus(expense)

    @property
    def most_spent_usd(self) -> float:
        """What has been spent at most: attempts that reported no usage may have been charged."""
        return (self.cost_usd or 0.0) + self.expenses.at_most_usd

    def projected_cost_usd(self, total: int) -> float | None:
        """Return the cost of all `total` at the mean so far; None before there is a mean."""
        if self.cost_usd is None or not self.priced:
            return None
        return self.cost_usd / self.priced * total

    def copy(self) -> Tally:
        """Return a copy that later results do not change."""
        return replace(
            self,
            ended=Counter(self.ended),
            stops=Counter(self.stops),
            errors=Counter(self.errors),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Results and their tokens per minute."""

    requests: float
    input_tokens: float
    output_tokens: float


@dataclass(slots=True)
class _Second:
    second: int
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(slots=True)
class Progress:
    """Figures of a run in progress; `tally` begins with the results already on disk.

    `cut_off` attempts were in flight when a live run ended (1 until it does): they may have been
    answered.
    """

    started_at: float
    tally: Tally = field(default_factory=Tally)
    attempts: int = 0
    rate_limited: int = 0
    cached: int = 0
    cut_off: int = 0
    failures: deque[FailureView] = field(default_factory=lambda: deque(maxlen=LATEST_FAILURES))
    _seconds: deque[_Second] = field(default_factory=deque)
    _minute: MinuteCounter = field(default_factory=MinuteCounter)
    _minute_start: Tally = field(default_factory=Tally)
    _minute_began_at: float = field(init=False)
    _cached_before: int = 0
    _sampled_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._minute_start = self.tally.copy()
        self._minute_began_at = self._sampled_at = self.started_at

    def start(self, now: float) -> None:
        """Begin the clock of the run and of its first minute."""
        self.started_at = self._minute_began_at = self._sampled_at = now

    def record_attempt(self, record: AttemptRecord, lane: str = "") -> None:
        """Count an attempt that has ended; one in a batch, or a canary, has no lane."""
        self.attempts += 1
        self._minute.add_attempt(record, lane)

    def apply(self, event: Failed | Recorded | Spent) -> None:
        """Add one event to the figures."""
        match event:
            case Recorded():
                self._record(event)
            case Spent(expense=expense):
                self.tally.add_expense(expense)
            case Failed():
                self._minute.add_failure(event)
                self.rate_limited += event.kind in LIMITED_KINDS
                self.failures.append(
                    FailureView(
                        at=event.at,
                        custom_id=event.custom_id,
                        line=event.line,
                        what=event.what,
                        retry_in_s=event.retry_in_s,
                    )
                )

    def _record(self, event: Recorded) -> None:
        self.tally.add(event.type, event.usage, event.cost_usd)
        self.tally.degraded += event.degraded
        if event.stop_reason in UNFINISHED:
            self.tally.stops[event.stop_reason] += 1
        self.cached += event.cached
        second = int(event.at)
        if not self._seconds or self._seconds[-1].second != second:
            self._seconds.append(_Second(second))
        now = self._seconds[-1]
        now.requests += 1
        now.input_tokens += event.usage.prompt_tokens
        now.output_tokens += event.usage.output_tokens

    def rates(self, now: float) -> Rates:
        """Return rates over the last minute, or since the start while that is shorter."""
        while self._seconds and self._seconds[0].second < now - RATE_WINDOW_S:
            self._seconds.popleft()
        per_minute = 60.0 / min(RATE_WINDOW_S, max(now - self.started_at, 1.0))
        return Rates(
            requests=sum(s.requests for s in self._seconds) * per_minute,
            input_tokens=sum(s.input_tokens for s in self._seconds) * per_minute,
            output_tokens=sum(s.output_tokens for s in self._seconds) * per_minute,
        )

    def eta_s(self, total: int, lanes: Sequence[LaneView], now: float) -> float | None:
        """Return the seconds left; None while the present rate is 0.

        At the present rate, or at the rate that the limits of busy lanes allow once their buckets
        are empty: whichever takes longer.
        """
        rates = self.rates(now)
        if rates.requests <= 0:
            return None
        left = total - self.tally.done
        return max(left * 60.0 / rates.requests, _limited_s(left, rates, lanes))

    def sample(self, status: SchedulerStatus, *, now: float, wall: float) -> Minute | None:
        """Note what limits each lane; return the figures of a minute that is over."""
        self._minute.sample(status.lanes, status.wait, now - self._sampled_at)
        self._sampled_at = now
        began_at = self._minute_began_at
        if now < began_at + length_s(began_at - self.started_at):
            return None
        return self.close_minute(now=now, wall=wall)

    def close_minute(self, *, now: float, wall: float) -> Minute:
        """Return the figures since the last call, for the journal."""
        counted, before, after = self._minute, self._minute_start, self.tally.copy()
        seconds, cached = now - self._minute_began_at, self.cached - self._cached_before
        self._minute, self._minute_start = MinuteCounter(), after
        self._minute_began_at, self._cached_before = now, self.cached
        succeeded = after.ended[ResultType.SUCCEEDED] - before.ended[ResultType.SUCCEEDED]
        cost_usd = None
        if after.cost_usd is not None:
            cost_usd = round(after.cost_usd - (before.cost_usd or 0.0), 9)
        return Minute(
            at=wall,
            seconds=round(seconds, 3),
            attempts=counted.attempts,
            retried=counted.retried,
            succeeded=succeeded,
            failed=after.done - before.done - succeeded,
            cached=cached,
            input_tokens=after.input_tokens - before.input_tokens,
            output_tokens=after.output_tokens - before.output_tokens,
            cost_usd=cost_usd,
            failures=dict(counted.failures),
            limited=dict(counted.limited),
            examples=dict(counted.examples),
            latency=dict(counted.latency),
            traffic=counted.traffic(),
            lanes=counted.lanes(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What does not change during a run. `resumed` results were on disk at the start."""

    run_id: str
    prompts: str
    results: str
    sandbox: bool
    host: str
    total: int
    resumed: int = 0


NO_STATUS = SchedulerStatus()
"""The status of a run without lanes and endpoints: batch mode, or before the start."""


def _limited_s(left: int, rates: Rates, lanes: Sequence[LaneView]) -> float:
    """Return the seconds that limits allow `left` requests, if they use what others did so far."""
    busy = [lane for lane in lanes if lane.queued or lane.in_flight]
    costs = {
        LimitKind.REQUESTS: 1.0,
        LimitKind.INPUT_TOKENS: rates.input_tokens / rates.requests,
        LimitKind.OUTPUT_TOKENS: rates.output_tokens / rates.requests,
    }
    longest = 0.0
    for kind, cost in costs.items():
        gauges = [gauge for lane in busy for gauge in lane.gauges if gauge.kind is kind]
        limits = [gauge.limit_per_minute for gauge in gauges if gauge.limit_per_minute]
        if limits and len(limits) == len(gauges):
            available = sum(max(0.0, gauge.available or 0.0) for gauge in gauges)
            longest = max(longest, (left * cost - available) * 60.0 / sum(limits))
    return longest


def make_snapshot(
    facts: RunFacts,
    progress: Progress,
    status: SchedulerStatus,
    *,
    phase: Phase,
    now: float,
    wall: float | None = None,
) -> Snapshot:
    """Return the figures of a run for a screen; `now` is monotonic, `wall` wall-clock time."""
    rates = progress.rates(now)
    tally = progress.tally
    paused = status.wait is not None and status.wait.kind is WaitKind.PAUSED
    is_sending = phase is Phase.RUNNING and not paused
    return Snapshot(
        run_id=facts.run_id,
        prompts=facts.prompts,
        results=facts.results,
        phase=phase,
        sandbox=facts.sandbox,
        host=facts.host,
        total=facts.total,
        resumed=facts.resumed,
        succeeded=tally.ended[ResultType.SUCCEEDED],
        errored=tally.ended[ResultType.ERRORED],
        canceled=tally.ended[ResultType.CANCELED],
        expired=tally.ended[ResultType.EXPIRED],
        retrying=status.retrying,
        in_flight=status.in_flight,
        attempts=progress.attempts,
        rate_limited=progress.rate_limited,
        elapsed_s=now - progress.started_at,
        eta_s=progress.eta_s(facts.total, status.lanes, now) if is_sending else None,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        requests_per_minute=rates.requests,
        input_tokens_per_minute=rates.input_tokens,
        output_tokens_per_minute=rates.output_tokens,
        cost_usd=tally.cost_usd,
        projected_cost_usd=tally.projected_cost_usd(facts.total),
        degraded=tally.degraded,
        stop_reasons=dict(tally.stops),
        output_errors=tally.output_errors,
        unreported=tally.expenses.unreported,
        unreported_usd=tally.expenses.at_most_usd,
        cached=progress.cached,
        at=wall,
        wait=status.wait if phase is Phase.RUNNING else None,
        lanes=status.lanes,
        endpoints=status.endpoints,
        fallback=status.fallback,
        failures=tuple(progress.failures),
    )
