"""Which requests of a run are answered already, which are sent, which wait for an equal one."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.caching.fingerprint import numbered
from claude_batch.core.model.requests import Reply, Request, Usage
from claude_batch.ports import CacheLookup
from claude_batch.storage.caches.memory import MemoryCache
from claude_batch.storage.caches.responses import CachedResponses, FirstLines
from claude_batch.storage.caches.store import AnswerStore, CachedAnswer
from tests.support.fake_cache import NOW, memory_store, responses_in
from tests.support.fakes import asking, file_of

MESSAGE = b'{"type":"message","content":[{"n":1.10}],"usage":{"input_tokens":3,"output_tokens":5}}'
MAX_BYTES_PER_LINE = 160
"""Including what the cache takes before it has seen a line: a megabyte."""


def a_reply(line: int = 0, stop_reason: str | None = "end_turn") -> Reply:
    message = MESSAGE[:-1] + b',"n":%d}' % line
    return Reply(message=message, usage=Usage(), stop_reason=stop_reason)


def among(*lines: int) -> Callable[[int], bool]:
    return lines.__contains__


def lines_of(requests: Sequence[Request]) -> list[int]:
    return [request.line for request in requests]


def sent(lookup: CacheLookup) -> list[int]:
    return lines_of([request for request, _ in lookup.to_send])


async def split(cache: CachedResponses, requests: Sequence[Request], *done: int) -> CacheLookup:
    return await cache.split(requests, is_done=among(*done))


async def answer(cache: CachedResponses, requests: Sequence[Request]) -> None:
    """End requests with a reply, as a batch run does: hours later, by their keys."""
    for key, request in zip(await cache.keys(requests), requests, strict=True):
        cache.settle(key, request.model, a_reply(request.line))
    await cache.flush()


@dataclass
class Run:
    """One run over a store that outlives it: each request sent is answered by its line."""

    store: AnswerStore = field(default_factory=memory_store)
    dedupe: bool = False
    family: str = "anthropic"
    stop_reason: str | None = "end_turn"
    at_once: int = 2

    def work_off(
        self, requests: Sequence[Request], *, done: Container[int] = ()
    ) -> tuple[list[int], dict[int, bytes]]:
        """Return the lines that were sent, and the message each line ended with."""
        return asyncio.run(self._work_off(requests, done))

    async def _work_off(
        self, requests: Sequence[Request], done: Container[int]
    ) -> tuple[list[int], dict[int, bytes]]:
        cache = responses_in(self.store, family=self.family, dedupe=self.dedupe)
        sent: list[int] = []
        answers: dict[int, bytes] = {}
        for start in range(0, len(requests), self.at_once):
            some = requests[start : start + self.at_once]
            lookup = await cache.split(some, is_done=lambda line: line in done)
            answers.update({request.line: reply.message for request, reply in lookup.answered})
            for request, key in lookup.to_send:
                sent.append(request.line)
                reply = a_reply(request.line, self.stop_reason)
                cache.settle(key, request.model, reply)
                waiting = [each.line for each, first in lookup.waiting if first == request.line]
                answers.update(dict.fromkeys([request.line, *waiting], reply.message))
            await cache.flush()
        return sent, answers


def test_a_second_run_sends_nothing() -> None:
    store = memory_store()
    Run(store).work_off(file_of("a", "b", "c"))
    assert Run(store).work_off(file_of("a", "b", "c"))[0] == []


def test_a_second_run_has_the_same_messages_byte_for_byte() -> None:
    store = memory_store()
    first = Run(store).work_off(file_of("a", "b", "a"))[1]
    assert Run(store).work_off(file_of("a", "b", "a"))[1] == first


def test_equal_lines_are_sent_each_on_their_own() -> None:
    assert Run().work_off(file_of("a", "a", "a"))[0] == [1, 2, 3]


def test_equal_lines_get_each_an_answer_of_their_own_the_next_time() -> None:
    store = memory_store()
    Run(store).work_off(file_of("a", "a", "a"))
    assert len(set(Run(store).work_off(file_of("a", "a", "a"))[1].values())) == 3


def test_one_more_equal_line_than_last_time_is_sent() -> None:
    store = memory_store()
    Run(store).work_off(file_of("a", "a"))
    assert Run(store).work_off(file_of("a", "a", "a"))[0] == [3]


def test_equal_lines_have_keys_of_their_own_however_often_they_are_asked_for() -> None:
    async def act() -> tuple[Sequence[bytes], Sequence[bytes]]:
        cache, requests = responses_in(memory_store()), file_of("a", "a", "b", "a")
        first = await cache.keys(requests)
        return first, [*await cache.keys(requests[2:]), *await cache.keys(requests[:2])]

    first, again = asyncio.run(act())
    assert len({*first}) == 4
    assert [*first[2:], *first[:2]] == again


def test_lines_that_are_done_are_counted_and_left_out() -> None:
    store = memory_store()
    Run(store).work_off(file_of("a"))
    assert Run(store).work_off(file_of("a", "a", "b"), done={1})[0] == [2, 3]


async def only_some(store: AnswerStore, requests: list[Request], ended: set[int]) -> set[bytes]:
    """Send all, as a run that is interrupted when only some answers have come; return those."""
    cache = responses_in(store)
    await split(cache, requests)
    await answer(cache, [request for request in requests if request.line in ended])
    return {a_reply(line).message for line in ended}


@given(prompts=st.lists(st.sampled_from("abc"), max_size=12), data=st.data())
def test_whatever_a_cut_run_had_done_each_line_ends_with_its_own_sample(
    prompts: list[str], data: st.DataObject
) -> None:
    lines = range(1, len(prompts) + 1)
    ended = data.draw(st.sets(st.sampled_from(lines))) if prompts else set()
    store = memory_store()
    requests = file_of(*prompts)
    before = asyncio.run(only_some(store, requests, ended))
    after = Run(store).work_off(requests, done=ended)[1]
    assert len(before | set(after.values())) == len(prompts)


@given(prompts=st.lists(st.sampled_from("abcd"), max_size=12), at_once=st.integers(1, 12))
def test_with_dedupe_each_distinct_line_is_sent_once(prompts: list[str], at_once: int) -> None:
    sent, answers = Run(dedupe=True, at_once=at_once).work_off(file_of(*prompts))
    assert (len(sent), len(answers)) == (len(set(prompts)), len(prompts))


def test_with_dedupe_every_line_has_the_answer_of_its_kind() -> None:
    answers = Run(dedupe=True, at_once=10).work_off(file_of("a", "b", "a", "a"))[1]
    assert [answers[line] == answers[1] for line in (1, 2, 3, 4)] == [True, False, True, True]


def deduped(act: Callable[[CachedResponses], Awaitable[object]]) -> object:
    """Return what comes of a run that dedupes."""

    async def whole() -> object:
        return await act(responses_in(memory_store(), dedupe=True))

    return asyncio.run(whole())


def test_with_dedupe_a_line_waits_for_the_first_of_its_kind() -> None:
    async def act(cache: CachedResponses) -> tuple[list[int], list[int], list[int]]:
        requests = file_of("a", "b", "a", "b", "a")
        early, late = await split(cache, requests[:3]), await split(cache, requests[3:])
        waiting = [first for _, first in [*early.waiting, *late.waiting]]
        return sent(early) + sent(late), waiting, [cache.first_of(line) for line in range(1, 6)]

    assert deduped(act) == ([1, 2], [1, 2, 1], [0, 0, 1, 2, 1])


def test_with_dedupe_an_equal_line_is_sent_after_a_failure() -> None:
    async def act(cache: CachedResponses) -> list[int]:
        [(request, key)] = (await split(cache, file_of("a"))).to_send
        cache.settle(key, request.model, None)
        return sent(await split(cache, [asking("a", 2)]))

    assert deduped(act) == [2]


def test_with_dedupe_an_answer_not_yet_stored_is_found() -> None:
    async def act(cache: CachedResponses) -> int:
        [(request, key)] = (await split(cache, file_of("a"))).to_send
        cache.settle(key, request.model, a_reply())
        return len((await split(cache, [asking("a", 2)])).answered)

    assert deduped(act) == 1


class Meddling(MemoryCache):
    """Does something else while it is read, as the event loop may."""

    def __init__(self) -> None:
        super().__init__(max_bytes=10**9, ttl_s=None, now=lambda: NOW)
        self.meddle: Callable[[], object] = list

    async def get_many(self, keys: Sequence[bytes]) -> Mapping[bytes, CachedAnswer]:
        found = await super().get_many(keys)
        self.meddle()
        return found


@pytest.mark.parametrize(("reply", "expected"), [(a_reply(), ([3], [2])), (None, ([2, 3], []))])
def test_with_dedupe_a_line_whose_equal_ends_during_the_look_up_does_not_wait_for_it(
    reply: Reply | None, expected: tuple[list[int], list[int]]
) -> None:
    async def act() -> tuple[list[int], list[int]]:
        store = Meddling()
        cache = responses_in(store, dedupe=True)
        [(request, key)] = (await split(cache, file_of("a"))).to_send
        store.meddle = lambda: cache.settle(key, request.model, reply)
        lookup = await split(cache, [asking("a", 2), asking("b", 3)])
        return sorted(sent(lookup)), lines_of([each for each, _ in lookup.answered])

    assert asyncio.run(act()) == expected


def test_with_dedupe_what_an_earlier_process_sent_is_waited_for() -> None:
    async def act(cache: CachedResponses) -> tuple[list[int], list[int]]:
        requests = file_of("b", "a", "c", "a", "b")
        await cache.recall(requests, was_sent=among(2))
        lookup = await split(cache, requests, 2)
        return sent(lookup), [cache.first_of(line) for line in range(1, 6)]

    assert deduped(act) == ([1, 3], [0, 0, 0, 2, 1])


@pytest.mark.parametrize(("lasting", "entries"), [(False, 0), (True, 1)])
def test_with_dedupe_alone_nothing_is_stored_once_the_input_has_ended(
    *, lasting: bool, entries: int
) -> None:
    async def act() -> int:
        store = memory_store()
        cache = responses_in(store, dedupe=True, lasting=lasting)
        cache.end_input()
        await answer(cache, file_of("a"))
        return (await store.stats()).entries

    assert asyncio.run(act()) == entries


@pytest.mark.parametrize("reason", ["max_tokens", "refusal", "pause_turn", None])
def test_a_truncated_or_refused_answer_is_asked_for_again(reason: str | None) -> None:
    store = memory_store()
    Run(store, stop_reason=reason).work_off(file_of("a"))
    assert Run(store).work_off(file_of("a"))[0] == [1]


def test_pretend_answers_never_pass_for_real_ones() -> None:
    store = memory_store()
    Run(store, family="sandbox").work_off(file_of("a"))
    assert Run(store).work_off(file_of("a"))[0] == [1]


def test_a_hit_has_the_usage_of_its_message() -> None:
    async def act() -> Usage:
        store = memory_store()
        await answer(responses_in(store), file_of("a"))
        [(_, reply)] = (await split(responses_in(store), file_of("a"))).answered
        return reply.usage

    assert asyncio.run(act()) == Usage(input_tokens=3, output_tokens=5)


@pytest.mark.parametrize("message", [b"{", b"[]", b"null", b'{"usage":3}', MESSAGE + b"\n"])
def test_a_stored_message_that_is_damaged_is_asked_for_again(message: bytes) -> None:
    class Damaging(MemoryCache):
        async def put_many(self, answers: Mapping[bytes, CachedAnswer]) -> None:
            await super().put_many(
                {key: replace(answer, message=message) for key, answer in answers.items()}
            )

    store = Damaging(max_bytes=1_000_000, ttl_s=None, now=lambda: NOW)
    Run(store).work_off(file_of("a"))
    assert Run(store).work_off(file_of("a"))[0] == [1]


def test_closing_stores_new_answers() -> None:
    store = memory_store()

    async def act() -> None:
        cache = responses_in(store)
        [(request, key)] = (await split(cache, file_of("a"))).to_send
        cache.settle(key, request.model, a_reply())
        await cache.close()

    asyncio.run(act())
    assert Run(store).work_off(file_of("a"))[0] == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=60))
def test_first_lines_are_what_was_put_last(puts: list[tuple[int, int]]) -> None:
    lines, expected = FirstLines(), dict[int, int]()
    for number, line in puts:
        if line:
            lines.put(numbered(b"x", number), line)
        else:
            lines.remove(numbered(b"x", number))
        expected[number] = line
    assert all(lines.find(numbered(b"x", n)) == expected.get(n, 0) for n in range(31))


def test_of_keys_with_the_same_first_half_one_is_recorded() -> None:
    lines = FirstLines()
    lines.put(b"12345678" + b"a" * 12, 1)
    lines.put(b"12345678" + b"b" * 12, 2)
    assert lines.find(b"12345678" + b"a" * 12) == 1
    assert lines.find(b"12345678" + b"b" * 12) == 0


@pytest.mark.parametrize("dedupe", [False, True])
def test_of_a_line_that_is_sent_little_is_kept(*, dedupe: bool) -> None:
    count, at_once = 8_000, 500

    async def act() -> int:
        cache = responses_in(memory_store(), dedupe=dedupe)
        tracemalloc.start()
        for start in range(0, count, at_once):
            some = [asking(f"{n % 6_000}" * 50, n) for n in range(start + 1, start + at_once + 1)]
            await split(cache, some)
        del some
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept

    assert asyncio.run(act()) < count * MAX_BYTES_PER_LINE
