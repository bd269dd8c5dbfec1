"""What a batch run asks its response cache: which lines to send, and which results an answer gives.

With --dedupe, equal lines end as the one that was sent for all of them. Without a cache, every
line is sent, and an answer gives one result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from claude_batch.core.batch.canary import CanaryResult
from claude_batch.core.batch.events import AnsweredFromCache
from claude_batch.core.batch.history import BatchHistory
from claude_batch.core.model.line_ranges import LineRanges
from claude_batch.core.model.requests import Reply, Request, Result
from claude_batch.core.model.schemas import AnswerChecks
from claude_batch.engine.answers import cached_results, copied_result
from claude_batch.engine.batch.parts import BatchParts
from claude_batch.ports import ResponseCache, Source

AT_ONCE = 1_000
"""Results that are committed together, where nothing else sets a number."""

Lines = Callable[[int], bool]


@dataclass(slots=True, kw_only=True)
class BatchAnswers:
    """Looks lines up before they go into a batch; commits what the cache or a canary answers."""

    parts: BatchParts
    _checks: AnswerChecks = field(init=False, default_factory=AnswerChecks)
    _sent_before: Lines = field(init=False)
    _results: list[Result] = field(init=False, default_factory=list)
    _answered: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._sent_before = within(_in_batches(self.parts.history))

    # what has to be sent

    async def recall(self) -> None:
        """Restore what earlier processes have sent, and which lines wait for it."""
        cache, lines = self.parts.cache, _in_batches(self.parts.history)
        if cache is None or not lines:
            return
        last = lines.ranges[-1][1]
        wanted = self._not_done_or_sent if cache.dedupe else lambda line: line <= last
        source = self.parts.prompts(wanted, done_too=True)
        while requests := await source.read():
            await cache.recall(requests, was_sent=self._sent_before)
            past = not cache.dedupe and requests[-1].line >= last
            if past or self.parts.interruption.asked.is_set():
                return

    def _not_done_or_sent(self, line: int) -> bool:
        return self._sent_before(line) or not self.parts.is_done(line)

    def open(self) -> Source:
        """Open the pass over all lines that have no result and are in no chunk.

        Where equal lines are counted, it includes the others, for `split` to leave out.
        """
        if self.parts.cache is None or self.parts.cache.dedupe:
            return self.parts.prompts(lambda line: not self._sent_before(line))
        return self.parts.prompts(lambda _line: True, done_too=True)

    async def split(self, requests: Sequence[Request]) -> Sequence[Request]:
        """Return what has to be sent; cached answers are committed, some at a time."""
        if self.parts.cache is None:
            return requests
        lookup = await self.parts.cache.split(requests, is_done=self._done_or_sent)
        self._results += cached_results(lookup.answered, at=self.parts.clock.wall())
        if len(self._results) >= AT_ONCE:
            await self.save()
        return [request for request, _ in lookup.to_send]

    def _done_or_sent(self, line: int) -> bool:
        return self.parts.is_done(line) or self._sent_before(line)

    async def save(self) -> None:
        """Commit the cached answers found so far."""
        results, self._results = self._results, []
        await self.parts.commit(results)
        self._answered += len(results)

    def end_input(self) -> None:
        """Note that all lines have been looked up; report how many were answered."""
        if self.parts.cache is not None:
            self.parts.cache.end_input()
        if self._answered:
            self.parts.report(AnsweredFromCache(self._answered))

    # what was sent live

    async def commit_canaries(
        self, tried: Sequence[CanaryResult], results: Sequence[Result]
    ) -> None:
        """Commit the results of canaries, and those of lines that wait for them."""
        cache = self.parts.cache
        if cache is None or not tried:
            await self.parts.commit(results)
            return
        keys = await cache.keys([each.request for each in tried])
        for key, each in zip(keys, tried, strict=True):
            reply = each.outcome if isinstance(each.outcome, Reply) else None
            if reply is not None and not self._checks.fits(each.request.schema, reply.message):
                reply = None
            cache.settle(key, each.request.model, reply)
        await self._commit_with_copies(cache, {result.line: result for result in results})
        await cache.flush()

    async def _commit_with_copies(self, cache: ResponseCache, ended: Mapping[int, Result]) -> None:
        """Commit results, and copies of them for the lines that wait for theirs."""
        ready = [*ended.values()]
        if cache.dedupe:
            source = self.parts.prompts(lambda line: cache.first_of(line) in ended)
            while requests := await source.read():
                ready += [
                    copied_result(ended[cache.first_of(each.line)], each) for each in requests
                ]
                if len(ready) >= AT_ONCE:
                    await self.parts.commit(ready)
                    ready = []
        await self.parts.commit(ready)


# what a batch brings


@dataclass(frozen=True, slots=True)
class PendingResult:
    """What a result needs of its request, about 300 bytes; `key` is that of its answer.

    `is_done`: it had its result when the run began, and is here for what else its answer gives.
    """

    line: int
    custom_id: str
    model: str
    meta: bytes | None
    schema: bytes | None
    key: bytes | None
    is_done: bool
    input_tokens: float
    """The estimate."""


@dataclass(slots=True)
class PendingResults:
    """The requests of a chunk without a result line so far, and those that wait for them.

    They are held while the batch is collected: a full batch takes 30 MB.
    """

    by_line: dict[int, PendingResult] = field(default_factory=dict)
    waiting: dict[int, list[PendingResult]] = field(default_factory=dict)

    @property
    def unanswered(self) -> int:
        """How many of them lack their result."""
        return sum(not each.is_done for each in self.by_line.values())

    def take(self, line: int) -> PendingResult | None:
        """Return the request of a line, the first time."""
        return self.by_line.pop(line, None)

    def copies(self, result: Result) -> list[Result]:
        """Return the results of the requests that wait for `result`, once."""
        return [copied_result(result, each) for each in self.waiting.pop(result.line, ())]


async def read_pending(
    parts: BatchParts, lines: LineRanges, *, created_at: float
) -> PendingResults:
    """Read the prompts of a chunk's `lines`, and of those that wait for them.

    Where a file that a prompt names was changed after the batch was created, the answer is to
    what it was before, and is not stored.
    """
    cache, is_ours, pending = parts.cache, within(lines), PendingResults()

    def is_waiting(line: int) -> bool:
        return cache is not None and is_ours(cache.first_of(line))

    source = parts.prompts(
        lambda line: is_ours(line) or is_waiting(line), done_too=cache is not None
    )
    to_the_end = cache is not None and cache.dedupe
    models: dict[str, str] = {}
    while to_the_end or len(pending.by_line) < len(lines):
        requests = await source.read()
        if not requests:
            break
        ours = [each for each in requests if is_ours(each.line)]
        keys = repeat(None, len(ours)) if cache is None else await cache.keys(ours)
        for each, key in zip(ours, keys, strict=True):
            pending.by_line[each.line] = _pending(
                each,
                models,
                key if each.files_changed_at <= created_at else None,
                is_done=parts.is_done(each.line),
            )
        for each in requests:
            if cache is not None and not is_ours(each.line):
                first = cache.first_of(each.line)
                pending.waiting.setdefault(first, []).append(
                    _pending(each, models, None, is_done=False)
                )
    return pending


def _pending(
    request: Request, models: dict[str, str], key: bytes | None, *, is_done: bool
) -> PendingResult:
    """Keep what a result needs of its request; equal model names are kept once."""
    model = models.setdefault(request.model, request.model)
    return PendingResult(
        request.line,
        request.custom_id,
        model,
        request.meta,
        request.schema,
        key,
        is_done,
        request.input_tokens,
    )


def within(lines: LineRanges) -> Lines:
    """Return a quick test of whether a line is one of `lines`."""
    marks = lines.to_flags()
    last = len(marks) - 1
    return lambda line: line <= last and marks[line] == 1


def _in_batches(history: BatchHistory) -> LineRanges:
    """Return the lines that may yet get a result from a batch of an earlier process."""
    return LineRanges.of(line for chunk in history.open_chunks for line in chunk.lines)
