"""The figures of shards are folded into those of the whole, with the time that is left."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_batch.core.model.shards import FolderView, ShardState, ShardView
from claude_batch.core.model.snapshot import Phase
from claude_batch.core.scheduling.progress import RunFacts
from claude_batch.core.shards.progress import (
    PACE_WINDOW_S,
    Pace,
    as_whole,
    fold,
    snapshot_of_folder,
    timed,
    with_shard,
)
from tests.ui import pictures


def shard(number: int, state: ShardState, done: int = 0, **figures: object) -> ShardView:
    view = ShardView(shard=number, name="a.jsonl", state=state, total=100, succeeded=done)
    return replace(view, **figures)  # type: ignore[arg-type]


SHARDS = [
    shard(1, ShardState.FINISHED, 97, errored=3, cost_usd=1.0, errors={"api_error": 3}),
    shard(2, ShardState.RUNNING, 40, cost_usd=0.5, requests_per_minute=60.0, silent_s=2.0),
    shard(3, ShardState.RUNNING, 10, errored=1, requests_per_minute=30.0, errors={"api_error": 1}),
    shard(4, ShardState.FAILED, 5),
    shard(5, ShardState.WAITING),
]


def folded() -> FolderView:
    return fold("out/", SHARDS, max_cost_usd=4.0)


def test_counts_are_added_up() -> None:
    whole = folded()
    assert (whole.total, whole.done, whole.errored, whole.cost_usd) == (500, 156, 4, 1.5)
    assert whole.errors == {"api_error": 4}


def test_every_shard_is_in_one_state() -> None:
    whole = folded()
    states = (whole.finished, whole.running, whole.failed, whole.interrupted, whole.waiting)
    assert (states, sum(states)) == ((1, 2, 1, 0, 1), whole.shards)


def test_what_is_not_known_of_any_is_not_known_of_the_whole() -> None:
    assert fold("out/", SHARDS[4:], max_cost_usd=None).cost_usd is None


def test_shards_at_work_are_kept_one_by_one() -> None:
    assert [each.shard for each in folded().at_work] == [2, 3]


def test_the_time_left_is_at_first_that_of_what_processes_say() -> None:
    whole = timed(folded(), Pace(), elapsed_s=1.0)
    assert whole.requests_per_minute == 90.0
    assert whole.eta_s == pytest.approx(344 * 60 / 90)


def test_later_it_is_that_of_what_was_seen() -> None:
    pace = Pace()
    for second in range(0, 61, 10):
        pace.add(float(second), 100 + second)
    assert timed(folded(), pace, elapsed_s=60.0).eta_s == pytest.approx(344.0)


def test_nothing_is_expected_of_a_folder_that_nobody_works_on() -> None:
    pace = Pace()
    pace.add(0.0, 0)
    pace.add(60.0, 60)
    idle = fold("out/", [SHARDS[0], SHARDS[4]], max_cost_usd=None)
    assert timed(idle, pace, elapsed_s=60.0).eta_s is None


def test_nothing_is_expected_where_no_process_has_a_rate() -> None:
    pace = Pace()
    pace.add(0.0, 0)
    pace.add(60.0, 60)
    batch = fold("out/", [shard(1, ShardState.RUNNING, 3), SHARDS[4]], max_cost_usd=None)
    assert timed(batch, pace, elapsed_s=60.0).eta_s is None


BETWEEN = fold("out/", [SHARDS[0], SHARDS[4]], max_cost_usd=None)
BEGUN = fold("out/", [SHARDS[0], shard(5, ShardState.RUNNING)], max_cost_usd=None)


@pytest.mark.parametrize(
    ("began", "view", "ended_s", "rate"),  # two results per second
    [
        (55.0, BETWEEN, 4.0, 120.0),  # observed for a minute
        (5.0, BETWEEN, 4.0, 90.0),  # as was reported
        (55.0, BETWEEN, 9.0, None),  # nobody has taken up the next shard
        (55.0, BEGUN, 40.0, 120.0),
        (55.0, replace(BEGUN, requests_per_minute=0.0), 4.0, 120.0),
        (55.0, BEGUN, 70.0, None),
    ],
)
def test_the_next_shard_goes_on_at_the_rate_of_the_ones_before(
    began: float, view: FolderView, ended_s: float, rate: float | None
) -> None:
    pace = Pace()
    pace.add(0.0, 0, 90.0)
    pace.add(began, int(2 * began), 90.0)
    pace.add(began + ended_s, int(2 * (began + ended_s)), view.requests_per_minute)
    shown = timed(view, pace, elapsed_s=0.0)
    assert shown.requests_per_minute == pytest.approx(rate)
    assert shown.eta_s == (None if rate is None else pytest.approx(100 * 60 / rate))


def test_who_is_paused_has_no_rate_of_before() -> None:
    pace = Pace()
    pace.add(0.0, 10, 90.0)
    paused = shard(5, ShardState.RUNNING, is_paused=True)
    view = timed(fold("out/", [paused], max_cost_usd=None), pace, elapsed_s=1.0)
    assert (view.requests_per_minute, view.eta_s) == (None, None)


def test_the_pace_forgets_what_is_long_ago() -> None:
    pace = Pace()
    pace.add(0.0, 0)
    for second in range(int(PACE_WINDOW_S), 2 * int(PACE_WINDOW_S) + 1):
        pace.add(float(second), 1_000 + second)
    assert pace.per_minute(PACE_WINDOW_S) == pytest.approx(60.0)


def test_many_looks_within_a_second_are_one() -> None:
    pace = Pace()
    for step in range(1_001):
        pace.add(step / 10, step)
    assert pace.per_minute(PACE_WINDOW_S) == pytest.approx(600.0)
    assert len(pace._samples) < 120


def test_the_shard_of_this_process_counts_with_its_own_figures() -> None:
    others = fold("out/", [*SHARDS[:2], SHARDS[4]], max_cost_usd=None)
    whole = with_shard(others, pictures.CALM, shard=3, name="b.jsonl")
    assert (whole.shards, whole.running, whole.done) == (4, 2, 100 + 40 + 1_200)
    assert (whole.total, whole.shard, len(whole.at_work)) == (10_300, 3, 1)


def test_who_counts_sees_all_shards_as_one_run() -> None:
    facts = RunFacts(run_id="9c", prompts="in", results="out/", sandbox=False, host="", total=0)
    ended = replace(pictures.SHARD, phase=Phase.FINISHED, cached=3)
    whole = as_whole(ended, facts, cached_before=4)
    assert (whole.run_id, whole.total, whole.done) == ("9c", 2_000_000, 640_134)
    assert (whole.cached, whole.cost_usd, whole.phase) == (7, 812.4, Phase.RUNNING)
    assert (whole.lanes, whole.in_flight) == (ended.lanes, ended.in_flight)


def test_what_a_fallback_answered_and_what_may_cost_more_is_that_of_all_shards() -> None:
    shards = [shard(1, ShardState.FINISHED, 9, degraded=4, unreported=1), replace(SHARDS[1])]
    own = replace(pictures.CALM, degraded=3, unreported=2)
    view = with_shard(fold("out/", shards, max_cost_usd=None), own, shard=3, name="b.jsonl")
    facts = RunFacts(run_id="9c", prompts="in", results="out/", sandbox=False, host="", total=0)
    whole = as_whole(replace(own, folder=view), facts, cached_before=0)
    last = snapshot_of_folder(view, facts, at=1.0)
    found = {(each.degraded, each.unreported) for each in (view, whole, last)}
    assert found == {(7, 3)}
