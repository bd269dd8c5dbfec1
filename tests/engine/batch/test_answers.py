"""A batch run with a response cache: what is answered already is not bought, equal lines once."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import replace

import orjson
import pytest

from claude_batch.core.batch.events import AnsweredFromCache
from claude_batch.core.model.batches import Detached, LeftForLive
from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.requests import FailureKind, Reply, Result, ResultType
from tests.support import fakes
from tests.support.batch_world import World, every, settings, some, some_alike, trouble, until_done
from tests.support.fake_batches import DyingCache, Fate, PretendBatches, ScriptedLive
from tests.support.forms import in_parts
from tests.support.virtual_time import run_virtually


def a_reply() -> Reply:
    """Return an answer that can be read back."""
    message = b'{"type":"message","content":[],"usage":{"input_tokens":20,"output_tokens":10}}'
    return replace(fakes.a_reply(), message=message)


def a_live() -> ScriptedLive:
    return ScriptedLive(lambda _request: a_reply())


def texts(world: World) -> dict[int, bytes]:
    return {result.line: result.payload for result in world.store.results}


def by_line(world: World) -> list[Result]:
    return sorted(world.store.results, key=lambda result: result.line)


def a_second_run(first: World, **changes: object) -> World:
    """Return another run of the same file over the same cache, with a server of its own."""
    world = World(first.requests, live=a_live(), cache=first.cache, dedupe=first.dedupe)
    return replace(world, **changes)  # type: ignore[arg-type]


def test_a_second_run_submits_nothing_and_sends_no_canary() -> None:
    first = World(some(50), live=a_live(), cache=DyingCache())
    first.run()
    second = a_second_run(first)
    assert second.run() is None
    assert second.live is not None
    assert (second.server.creates, second.live.sent) == (0, [])
    assert texts(second) == texts(first)


def test_a_hit_is_marked_and_costs_nothing() -> None:
    first = World(some(1), cache=DyingCache())
    first.run()
    second = a_second_run(first)
    second.run()
    [result] = second.store.results
    assert (result.cached, result.cost_usd, result.attempts, result.endpoint) == (
        True,
        0.0,
        0,
        "cache",
    )


def test_only_what_is_new_is_submitted() -> None:
    first = World(some(10), cache=DyingCache())
    first.run()
    second = a_second_run(first, requests=some(14), live=None)
    second.run()
    assert sorted(second.server.submissions) == [11, 12, 13, 14]
    assert second.lines == every(14)


def test_the_user_sees_how_many_answers_were_cached() -> None:
    first = World(some(10), cache=DyingCache())
    first.run()
    second = a_second_run(first)
    second.run()
    assert AnsweredFromCache(10) in second.events


@pytest.mark.parametrize(
    ("ends", "kind"),
    [
        ("api_error", FailureKind.SERVER_ERROR),
        ("invalid_request_error", FailureKind.REQUEST_REJECTED),
        ("expired", FailureKind.EXPIRED),
        ("canceled", FailureKind.CANCELED),
    ],
)
def test_what_did_not_succeed_is_counted_as_what_it_was(ends: str, kind: FailureKind) -> None:
    server = PretendBatches(outcome=lambda _line, _time: ends)
    world = World(some(3), server, settings(max_attempts=1))
    world.run()
    assert {each.kind for each in world.records} == {kind}
    minutes = [each for each in world.log.events if isinstance(each, Minute)]
    assert sum(each.failures.get(kind, 0) for each in minutes) == 3


@pytest.mark.parametrize("ends", ["api_error", "invalid_request_error", "expired"])
def test_what_did_not_succeed_is_not_kept(ends: str) -> None:
    server = PretendBatches(outcome=lambda _line, _time: ends)
    first = World(some(3), server, settings(max_attempts=1), cache=DyingCache())
    first.run()
    second = a_second_run(first, live=None)
    second.run()
    assert sorted(second.server.submissions) == [1, 2, 3]


def test_a_canarys_answer_that_was_cut_short_is_not_kept() -> None:
    cut = ScriptedLive(lambda _request: replace(a_reply(), stop_reason="max_tokens"))
    first = World(some(3), live=cut, cache=DyingCache())
    first.run()
    second = a_second_run(first, live=None)
    second.run()
    assert sorted(second.server.submissions) == [1]


def test_equal_lines_are_submitted_each_on_their_own() -> None:
    world = World(some_alike(12, 4), cache=DyingCache())
    world.run()
    assert sorted(world.server.submissions) == every(12)


def test_equal_lines_have_each_their_own_answer_the_next_time() -> None:
    first = World(some_alike(12, 4), cache=DyingCache())
    first.run()
    second = a_second_run(first)
    second.run()
    assert texts(second) == texts(first)
    assert second.server.creates == 0


def test_a_resumed_run_uses_no_sample_twice() -> None:
    first = World(some_alike(12, 1), cache=DyingCache(), max_requests=5)
    first.run((1.5, signal.SIGINT))
    first.run()
    second = a_second_run(first)
    second.run()
    assert len({*texts(first).values()}) == 12
    assert texts(second) == texts(first)


def test_with_dedupe_equal_lines_are_submitted_once_and_end_alike() -> None:
    world = World(some_alike(12, 4), dedupe=True)
    assert world.run() is None
    assert sorted(world.server.submissions) == every(4)
    assert world.lines == every(12)
    assert [each.cached for each in by_line(world)] == [False] * 4 + [True] * 8
    assert sum(each.cost_usd or 0.0 for each in by_line(world)) == 4.0


@pytest.mark.parametrize("live", [None, a_live()])
def test_however_many_lines_wait_for_one_they_are_committed_some_at_a_time(
    live: ScriptedLive | None,
) -> None:
    world = World(some_alike(3_500, 1), live=live, dedupe=True)
    world.run()
    assert world.lines == every(3_500)
    assert world.store.largest < 1_100


def test_with_dedupe_equal_lines_keep_their_ids() -> None:
    world = World(some_alike(12, 4), dedupe=True)
    world.run()
    assert [each.custom_id for each in by_line(world)] == [f"line-{n}" for n in every(12)]


def test_with_dedupe_lines_like_a_canary_end_as_it_does() -> None:
    world = World(some_alike(9, 1), live=a_live(), dedupe=True)
    assert world.run() is None
    assert (world.server.creates, world.lines) == (0, every(9))
    assert [each.cost_usd for each in by_line(world)] == [2.0] + [0.0] * 8


def test_with_dedupe_lines_like_a_failed_canary_fail_as_it_does() -> None:
    broken = ScriptedLive(lambda _request: fakes.a_failure(FailureKind.SERVER_ERROR))
    world = World(some_alike(3, 1), live=broken, dedupe=True)
    world.run()
    assert {(each.type, each.cached) for each in by_line(world)} == {(ResultType.ERRORED, False)}
    assert world.lines == every(3)


@pytest.mark.parametrize("ends", ["invalid_request_error", "api_error", "expired"])
def test_with_dedupe_equal_lines_fail_alike(ends: str) -> None:
    world = World(
        some_alike(6, 2),
        PretendBatches(outcome=lambda _line, _time: ends),
        settings(max_attempts=2),
        dedupe=True,
    )
    world.run()
    assert world.lines == every(6)
    assert world.outcomes.keys().isdisjoint({ResultType.SUCCEEDED})
    assert {each.attempts for each in by_line(world)[2:]} == {0}


def test_with_dedupe_lines_wait_for_one_that_goes_again() -> None:
    server = PretendBatches(outcome=lambda _line, time: "expired" if time == 1 else "succeeded")
    world = World(some_alike(6, 2), server, dedupe=True)
    assert world.run() is None
    assert world.server.submissions == Counter({1: 2, 2: 2})
    assert world.lines == every(6)


def test_with_dedupe_a_line_read_after_the_answer_has_come_gets_it() -> None:
    world = World(some_alike(100, 80), settings=settings(max_queued=20), dedupe=True)
    world.max_requests = 20
    assert world.run() is None
    assert (world.lines, sorted(world.server.submissions)) == (every(100), every(80))


def test_with_dedupe_a_line_read_after_an_equal_one_has_failed_is_sent() -> None:
    server = PretendBatches(outcome=lambda _line, _time: "invalid_request_error")
    world = World(some_alike(100, 80), server, settings(max_queued=20), dedupe=True)
    world.max_requests = 20
    assert world.run() is None
    assert (world.lines, sorted(world.server.submissions)) == (every(100), every(100))


def test_with_dedupe_a_resumed_run_ends_what_had_been_waiting() -> None:
    world = World(some_alike(12, 4), settings=settings(detach=True), dedupe=True)
    assert isinstance(world.run(), Detached)
    world.settings = settings()
    assert world.run() is None
    assert (world.lines, sorted(world.server.submissions)) == (every(12), every(4))


def test_with_dedupe_what_a_deadline_leaves_undone_waits_for_live_mode() -> None:
    world = World(
        some_alike(8, 2), PretendBatches(duration_s=7200.0), settings(live_at=1800.0), dedupe=True
    )
    assert isinstance(world.run(), LeftForLive)
    assert len({*world.lines}) == len(world.lines)
    ended = {orjson.loads(world.requests[line - 1].body)["n"] for line in world.lines}
    assert len(world.lines) == 4 * len(ended)


def test_an_answer_is_found_whatever_an_endpoint_calls_the_model() -> None:
    first = World(some(2), cache=DyingCache(), params=lambda _request: b'{"model":"qwen3"}')
    first.run()
    second = a_second_run(first)
    second.run()
    assert second.server.creates == 0


# dying

WAYS = {
    "cache": {"cache": True, "dedupe": False},
    "dedupe": {"cache": False, "dedupe": True},
    "both": {"cache": True, "dedupe": True},
}


def troubled(fate: Fate, *, cache: bool, dedupe: bool) -> World:
    """Return a world with equal lines and a bit of everything: lost answers, expiries, errors."""
    server = PretendBatches(
        duration_s=60.0,
        outcome=trouble,
        lose={1: "after", 2: "before"},
        cuts=1,
        list_lag_s=20.0,
    )
    world = World(
        some_alike(40, 16),
        server,
        max_requests=9,
        live=a_live(),
        cache=DyingCache() if cache else None,
        dedupe=dedupe,
    )
    world.share(fate)
    return world


def bought(world: World) -> Counter[bytes]:
    """Return how often each prompt has succeeded in a batch."""
    times: Counter[bytes] = Counter()
    for line, count in world.server.successes.items():
        times[world.requests[line - 1].body] += count
    return times


@in_parts(8, commit=1)
@pytest.mark.parametrize("way", WAYS)
def test_dying_at_any_step_loses_nothing_and_buys_nothing_twice(way: str, part: slice) -> None:
    fate = Fate()
    run_virtually(until_done(troubled(fate, **WAYS[way])))
    for step in range(1, fate.steps + 1)[part]:
        world = troubled(Fate(at=frozenset({step})), **WAYS[way])
        assert run_virtually(until_done(world)) == 1
        assert world.lines == every(40), f"step {step}"
        assert max(world.server.successes.values()) == 1, f"step {step}"
        if world.dedupe:
            assert max(bought(world).values()) == 1, f"step {step}"


@pytest.mark.parametrize("step", range(1, 12))
def test_a_run_that_died_leaves_no_sample_to_be_handed_out_twice(step: int) -> None:
    first = troubled(Fate(at=frozenset({step * 10})), cache=True, dedupe=False)
    run_virtually(until_done(first))
    second = a_second_run(first)
    second.run()
    again = Counter(texts(second).values())
    assert second.lines == every(40)
    assert max(times for text, times in again.items() if b"yes to" in text) == 1
