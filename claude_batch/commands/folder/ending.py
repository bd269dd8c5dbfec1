"""How the run of a folder ends: what all shards came to, why it stopped, and the next step."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from claude_batch.commands.folder.status import ShardStatus
from claude_batch.commands.run.messages import counted, shown
from claude_batch.core.model.requests import ResultType
from claude_batch.core.model.units import dollars
from claude_batch.core.scheduling.decisions import StopKind
from claude_batch.core.shards.money import most_usd
from claude_batch.errors import BoundTooLowError, Exit, InvalidPromptsError
from claude_batch.storage.folder.manifest import Shard
from claude_batch.storage.folder.shards import Done
from claude_batch.storage.run.journal import Closed, note
from claude_batch.storage.run.results import utc
from claude_batch.storage.run.status import RunState, run_status
from claude_batch.ui.screen.screen import RunSummary

_SIGNALED = 128
"""Exit codes beyond that are those of signals."""

_MOST_NAMED = 3
"""Processes, and shards of each, that are named at the end."""

ROUNDING = 1e-6
"""Bounds that differ by less are the same."""

MARGIN = 1.25
"""How much more than so far the rest may cost before a bound that is suggested is met again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderEnd:
    """A run folder as a process leaves it. `also` are options of the command that goes on."""

    path: Path
    statuses: Sequence[ShardStatus]
    bound_usd: float | None
    also: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether all shards are."""
        return all(each.done is not None for each in self.statuses)

    def finished(self) -> RunSummary:
        """Return what all shards came to."""
        finished = [each.done for each in self.statuses if each.done is not None]
        has_failures = any(each.has_failures for each in finished)
        can_retry = any(each.succeeded < each.total or each.output_errors for each in finished)
        kinds = (ResultType.ERRORED, ResultType.CANCELED, ResultType.EXPIRED)
        met = [kind.value for kind in kinds if any(getattr(each, kind.value) for each in finished)]
        only = "".join(f" --only {kind}" for kind in met)
        again = None
        if can_retry or any(each.degraded for each in finished):
            what = "errored" if can_retry else "degraded"
            again = f"{resume_folder_command(self.path)} --retry-{what}{self.also}"
        return RunSummary(
            message=self.text,
            look_command=f"claude-batch results {quoted(self.path)}{only}",
            resume_command=again,
            exit_code=Exit.SOME_FAILED if has_failures else Exit.SUCCEEDED,
        )

    def why(self, number: int, last: RunSummary) -> str:
        """Return why the run has stopped with a shard that ended so.

        A shard speaks of its part of the bound on the cost; that is said of the whole.
        """
        status = self.statuses[number - 1]
        if self.bound_usd is None or not met_bound(status):
            return f"shard {number}: {last.message}"
        others = [each for each in self.statuses if each is not status]
        return self._stopped_by_bound(others)

    def _stopped_by_bound(self, others: Sequence[ShardStatus]) -> str:
        spent = money_text(self.statuses, others)
        return f"stopped by --max-cost {self.bound_usd:.10g}: {spent}"

    def alone(self, number: int, last: RunSummary) -> RunSummary:
        """Return how a process for one shard ended whose run ended so.

        The shard speaks of its part of the bound on the cost; that is said of the whole.
        """
        own = replace(self.statuses[number - 1], claim=None)  # this process lets go of it
        if self.bound_usd is None or _closed_by_bound(own) is None:
            return last
        statuses = [own if each.shard == own.shard else each for each in self.statuses]
        others = sum(each.done is None for each in statuses) - 1
        has_rest = others and sum(each.money.spent_usd for each in statuses) < self.bound_usd
        rest = f", the rest is for {counted(others, 'other shard')}" if has_rest else ""
        usd = needed_usd(self.bound_usd, statuses)
        more = "" if usd is None else f" --max-cost {usd:.10g}"
        return replace(
            last,
            message=f"{self._stopped_by_bound([])}{rest}; "
            f"{own.total - own.results_there:,} of {own.total:,} left",
            resume_command=resume_folder_command(self.path) + self.also + more,
        )

    def stopped(
        self, code: int, *, last: RunSummary | None, why: str, too_little: bool, hint: str = ""
    ) -> RunSummary:
        """Return why shards are left, and the command that goes on.

        `last` is how the shard ended that has stopped it; `too_little` of the bound on the cost is
        left for the next one. `hint` is what another process has said instead: what to do first.
        """
        again, look = resume_folder_command(self.path) + self.also, None
        steps = [each for each in hint.splitlines() if not each.startswith("claude-batch resume")]
        if any(each.is_held for each in self.statuses):
            why = why or held_text(self.statuses)
            again = again if code > _SIGNALED else ""
            look = f"claude-batch status {quoted(self.path)} --watch"
        elif self.bound_usd is not None and too_little:
            again += f" --max-cost {enough_usd(self.bound_usd, self.statuses):.10g}"
        elif (usd := needed_usd(self.bound_usd, self.statuses)) is not None:
            again += f" --max-cost {usd:.10g}"
            if code == Exit.BOUNDED:
                why = why or self._stopped_by_bound([])
        elif last is not None:  # it may name what has to change
            again = last.resume_command or ""
        elif self.is_finished:  # a retry has stopped, which says how it continues
            again = ""
        return RunSummary(
            message="; ".join(filter(None, (why, self.text))),
            resume_command=again or None,
            look_command=look,
            first="; ".join(steps) if last is None else last.first,
            exit_code=code,
        )

    @property
    def text(self) -> str:
        """How far all of it is, in words."""
        statuses = self.statuses
        finished = [each.done for each in statuses if each.done is not None]
        there, total = _counts(statuses)
        parts = [
            f"{len(finished):,} of {counted(len(statuses), 'shard')} finished",
            f"{there:,} of {total:,} results",
        ]
        if failed := sum(each.failed for each in statuses):
            parts.append(f"{failed:,} failed")
        if left_out := sum(each.left_out for each in finished):
            parts.append(f"{counted(left_out, 'bad line')} left out")
        if degraded := sum(each.degraded for each in statuses):
            parts.append(f"a fallback answered {degraded:,}")
        costs = [each.cost_usd for each in statuses if each.cost_usd is not None]
        if costs:
            parts.append(dollars(sum(costs)))
        return f"{shown(self.path)}/: {', '.join(parts)}"


def finished_text(done: Done) -> str:
    """Return what a finished shard came to, in words."""
    cost = "" if done.cost_usd is None else f", {dollars(done.cost_usd)}"
    by = f", a fallback answered {done.degraded:,}" if done.degraded else ""
    return (
        f"shard {done.shard} is finished: {done.succeeded:,} of {counted(done.total, 'request')} "
        f"succeeded{by}{cost}"
    )


def held_text(statuses: Sequence[ShardStatus]) -> str:
    """Return who works on which shards: shards 3 and 7 are being worked on by process 12 on x."""
    held: dict[str, list[str]] = {}
    for each in statuses:
        if each.is_held and each.claim is not None:
            held.setdefault(each.claim.holder, []).append(f"{each.shard.shard:,}")
    texts = []
    for holder, numbers in [*held.items()][:_MOST_NAMED]:
        some = numbers[:_MOST_NAMED]
        more = len(numbers) - len(some)
        *first, last = [*some, f"{more:,} more"] if more else some
        named = f"{', '.join(first)} and {last}" if first else last
        is_one = len(numbers) == 1
        texts.append(f"{'shard' if is_one else 'shards'} {named} by {holder}")
    if (more := len(held) - len(texts)) > 0:
        texts.append(f"others by {counted(more, 'process', 'es')}")
    return f"still being worked on: {', '.join(texts)}"


def quoted(path: Path) -> str:
    """Return the name of a run folder for a shell."""
    return f"{shlex.quote(shown(path))}/"


def resume_folder_command(path: Path) -> str:
    """Return the command that continues the run of a folder."""
    return f"claude-batch resume {quoted(path)}"


def met_bound(status: ShardStatus) -> float:
    """Return the bound on the cost that has stopped a shard; 0 where none has."""
    closed = _closed_by_bound(status)
    return 0.0 if closed is None else closed.max_cost_usd or 0.0


def _closed_by_bound(status: ShardStatus) -> Closed | None:
    """Return the end of a shard that the bound on the cost has stopped; None of any other."""
    closed = None if status.run is None else status.run.closed
    return closed if closed is not None and closed.kind == StopKind.COST else None


def money_text(statuses: Sequence[ShardStatus], others: Sequence[ShardStatus]) -> str:
    """Return what is spent, and whether `others` may spend the rest."""
    spent = sum(each.money.spent_usd for each in statuses)
    held = [each for each in others if each.money.held_usd is not None]
    text = f"{dollars(spent)} spent"
    return f"{text}, the rest is for {counted(len(held), 'shard')} at work" if held else text


def needed_usd(bound: float | None, statuses: Sequence[ShardStatus]) -> float | None:
    """Return a --max-cost without which the rest cannot be continued; None: it can as it is.

    A shard that has met its part of the bound can where others have left enough.
    """
    left = [each for each in statuses if not each.is_held and each.money.rows_left]
    if bound is None or not left:
        return None
    free = max(0.0, bound - most_usd(each.money for each in statuses))
    is_short = any(
        each.money.spent_usd + free <= max(each.money.spent_usd, met_bound(each) * (1 + ROUNDING))
        for each in left
    )
    has_met = any(map(met_bound, left))
    if is_short or (has_met and _likely_usd(statuses) > bound):
        return enough_usd(bound, statuses)
    return None


def enough_usd(bound: float, statuses: Sequence[ShardStatus]) -> float:
    """Return a --max-cost that will probably do for the rest."""
    return rounded_usd(max(_likely_usd(statuses), 1.1 * bound))


def _likely_usd(statuses: Sequence[ShardStatus]) -> float:
    """Return what all will probably have cost at the end, or a little more."""
    spent = sum(each.money.spent_usd for each in statuses)
    there, total = _counts(statuses)
    usd = spent * (1 + MARGIN * (total / there - 1)) if there else 0.0
    return max(usd, _refused_usd(statuses))


def _refused_usd(statuses: Sequence[ShardStatus]) -> float:
    """Return what all may cost, judged by shards that could not begin: their bound was too low."""
    left = sum(each.shard.size for each in statuses if each.done is None)
    found = [
        each.run.closed.enough_usd * left / each.shard.size
        for each in statuses
        if each.run is not None
        and each.run.closed is not None
        and each.run.closed.enough_usd is not None
        and not each.results_there
    ]
    return MARGIN * max(found, default=0.0)


def rounded_usd(usd: float) -> float:
    """Return a price a little higher, in two digits."""
    return float(f"{1.05 * usd:.2g}")


def _counts(statuses: Sequence[ShardStatus]) -> tuple[int, int]:
    """Return how many results there are, of how many."""
    return sum(each.results_there for each in statuses), sum(each.total for each in statuses)


def note_refused(results: Path, error: BoundTooLowError, bound: float | None) -> None:
    """Note, for `status`, that a shard did not begin as its part of the bound is too low."""
    status = run_status(results)
    if status is None or status.tally.done:
        return
    closed = Closed(
        at=utc(time.time()),
        state=RunState.STOPPED,
        exit_code=error.exit_code,
        why=error.message,
        kind=StopKind.COST,
        max_cost_usd=bound,
        enough_usd=error.enough_usd,
    )
    note(results, closed)


def bad_lines(
    error: InvalidPromptsError, path: Path, shard: Shard, *, skips: bool, alone: bool
) -> InvalidPromptsError:
    """Return the error that a shard has bad lines, and the ways out.

    `skips`: they are left out, and none is left; `alone`: the command is for that shard.
    """
    which = f"shard {shard.shard}"
    if skips:
        way = f"the other shards: claude-batch run {quoted(path)} --shard N"
    elif not alone:
        way = f"leave them out: {resume_folder_command(path)} --skip-invalid"
    else:
        way = "leave them out: the same command with --skip-invalid"
    return InvalidPromptsError(
        error.message.replace("nothing was sent", f"nothing of {which} was sent"),
        hint=f"{way}\nor fix them, and name another folder with --out: this one keeps to its "
        "files as they were when it was made",
    )
