"""How far a run folder is: the figures of its shards, folded, and how fast they grow."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from claude_batch.core.model.shards import FolderView, ShardState, ShardView
from claude_batch.core.model.snapshot import Phase, Snapshot
from claude_batch.core.scheduling.progress import RunFacts

PACE_WINDOW_S, SHOWN_WINDOW_S = 300.0, 60.0
"""Windows, in seconds, over which the rate of a run folder is averaged: shards begin slowly, with
pauses between. The longer one is for the time left, the shorter one for the rate that is shown."""

PACE_AFTER_S = 10.0
"""Observed for less than this, in seconds, the pace is what processes say of themselves."""

BEGINNING_S, BETWEEN_S = 60.0, 5.0
"""The longest, in seconds, that a claimed shard may take until its first answers, and that may pass
between the end of one shard and the claim on the next."""

_CALM = {Phase.STARTING, Phase.RUNNING, Phase.FINISHED}
"""Phases of a shard among others in which the run of all of them goes on."""


@dataclass(slots=True)
class Pace:
    """How fast results arrive, by how many there were at what time (monotonic seconds)."""

    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _reported: tuple[float, float] | None = None

    def add(self, now: float, done: int, reported: float | None = None) -> None:
        """Note how many results there are; at most one note a second is kept.

        `reported` is the rate that processes say of themselves, if any does.
        """
        if reported:
            self._reported = now, reported
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < 1.0:
            samples.pop()
        samples.append((now, done))
        while now - samples[0][0] > PACE_WINDOW_S:
            samples.popleft()

    def per_minute(self, window_s: float) -> float | None:
        """Return results per minute in the last seconds; None before there is enough to tell."""
        if not self._samples:
            return None
        now, done = self._samples[-1]
        began, before = next(each for each in self._samples if now - each[0] <= window_s)
        if now - began < PACE_AFTER_S:
            return None
        return max(0, done - before) * 60.0 / (now - began)

    def reported(self, within_s: float) -> float | None:
        """Return the rate that was reported last; None where that is longer ago."""
        if self._reported is None or self._samples[-1][0] - self._reported[0] > within_s:
            return None
        return self._reported[1]


def fold(path: str, shards: Sequence[ShardView], *, max_cost_usd: float | None) -> FolderView:
    """Return the figures of all shards together."""
    states = Counter(each.state for each in shards)
    running = [each for each in shards if each.state is ShardState.RUNNING]
    return FolderView(
        path=path,
        shards=len(shards),
        finished=states[ShardState.FINISHED],
        running=states[ShardState.RUNNING],
        failed=states[ShardState.FAILED],
        interrupted=states[ShardState.INTERRUPTED],
        waiting=states[ShardState.WAITING],
        total=sum(each.total for each in shards),
        succeeded=sum(each.succeeded for each in shards),
        errored=sum(each.errored for each in shards),
        canceled=sum(each.canceled for each in shards),
        expired=sum(each.expired for each in shards),
        output_errors=sum(each.output_errors for each in shards),
        left_out=sum(each.left_out for each in shards),
        degraded=sum(each.degraded for each in shards),
        unreported=sum(each.unreported for each in shards),
        input_tokens=sum(each.input_tokens for each in shards),
        output_tokens=sum(each.output_tokens for each in shards),
        cost_usd=_sum(each.cost_usd for each in shards),
        max_cost_usd=max_cost_usd,
        errors=_merged(each.errors for each in shards),
        stop_reasons=_merged(each.stop_reasons for each in shards),
        requests_per_minute=_sum(each.requests_per_minute for each in running),
        at_work=tuple(running),
    )


def timed(view: FolderView, pace: Pace, *, elapsed_s: float, is_paused: bool = False) -> FolderView:
    """Return a view with its rate, and its time left: as was observed, or as is reported.

    A shard that begins has no rate yet, or a low one: that of the whole is a mean. Where no process
    has had a rate lately, as in batch mode, or is paused, there is nothing to expect. `is_paused`
    is that of the shard that is not among those at work.
    """
    rate, left = view.requests_per_minute, max(0, view.total - view.done)
    if left and not (is_paused or any(each.is_paused for each in view.at_work)):
        rate = rate or pace.reported(BEGINNING_S if view.running else BETWEEN_S) or rate
        if rate is not None:
            rate = pace.per_minute(SHOWN_WINDOW_S) or rate
    expected = None if rate is None else pace.per_minute(PACE_WINDOW_S) or rate
    eta_s = left * 60.0 / expected if expected and left else None
    return replace(view, elapsed_s=elapsed_s, requests_per_minute=rate, eta_s=eta_s)


def with_shard(others: FolderView, own: Snapshot, *, shard: int, name: str) -> FolderView:
    """Return the figures of the `others` and of the shard that a snapshot is about, which runs."""
    own_rate = None if own.paused_at is not None else own.requests_per_minute
    return replace(
        others,
        shards=others.shards + 1,
        running=others.running + 1,
        total=others.total + (own.total or 0),
        succeeded=others.succeeded + own.succeeded,
        errored=others.errored + own.errored,
        canceled=others.canceled + own.canceled,
        expired=others.expired + own.expired,
        output_errors=others.output_errors + own.output_errors,
        degraded=others.degraded + own.degraded,
        unreported=others.unreported + own.unreported,
        input_tokens=others.input_tokens + own.input_tokens,
        output_tokens=others.output_tokens + own.output_tokens,
        cost_usd=_sum((others.cost_usd, own.cost_usd)),
        requests_per_minute=_sum((others.requests_per_minute, own_rate)),
        stop_reasons=_merged((others.stop_reasons, own.stop_reasons)),
        shard=shard,
        shard_name=name,
    )


def as_whole(own: Snapshot, facts: RunFacts, *, cached_before: int) -> Snapshot:
    """Return a snapshot of a shard as one of all of its folder: what is done, and at what cost.

    What is in flight, and why nothing more is sent, stays that of the process at work.
    """
    view = own.folder
    if view is None:
        return own
    return replace(
        own,
        run_id=facts.run_id,
        prompts=facts.prompts,
        results=facts.results,
        phase=Phase.RUNNING if own.phase in _CALM else own.phase,
        total=view.total,
        succeeded=view.succeeded,
        errored=view.errored,
        canceled=view.canceled,
        expired=view.expired,
        degraded=view.degraded,
        unreported=view.unreported,
        cached=cached_before + own.cached,
        eta_s=view.eta_s,
        cost_usd=view.cost_usd,
    )


def snapshot_of_folder(view: FolderView, facts: RunFacts, *, at: float) -> Snapshot:
    """Return a snapshot that is about all of a run folder; `at` is wall time."""
    phase = Phase.FINISHED if view.finished == view.shards else Phase.RUNNING
    return Snapshot(
        run_id=facts.run_id,
        prompts=facts.prompts,
        results=facts.results,
        phase=phase,
        sandbox=facts.sandbox,
        host=facts.host,
        total=view.total,
        resumed=facts.resumed,
        succeeded=view.succeeded,
        errored=view.errored,
        canceled=view.canceled,
        expired=view.expired,
        retrying=0,
        in_flight=sum(each.in_flight for each in view.at_work),
        attempts=sum(each.attempts for each in view.at_work),
        rate_limited=sum(each.rate_limited for each in view.at_work),
        elapsed_s=view.elapsed_s,
        eta_s=view.eta_s,
        input_tokens=view.input_tokens,
        output_tokens=view.output_tokens,
        requests_per_minute=view.requests_per_minute,
        input_tokens_per_minute=None,
        output_tokens_per_minute=None,
        cost_usd=view.cost_usd,
        stop_reasons=view.stop_reasons,
        output_errors=view.output_errors,
        degraded=view.degraded,
        unreported=view.unreported,
        at=at,
        folder=view,
    )


def _sum(figures: Iterable[float | None]) -> float | None:
    known = [each for each in figures if each is not None]
    return sum(known) if known else None


def _merged(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for each in counts:
        merged.update(each)
    return dict(merged)
