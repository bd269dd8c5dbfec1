"""Scales, the time axis, and the words of charts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.history.run import RunHistory, Session
from claude_batch.core.history.tiers import TierGain
from claude_batch.core.model.minutes import Minute
from claude_batch.core.model.snapshot import WaitKind
from claude_batch.report.charts import bound_strip
from claude_batch.report.svg import Scale, amount, span, ticks
from claude_batch.report.timeline import MOST_BINS, TimeAxis, area, steps
from claude_batch.report.words import HELD_BY, bound_title, tier_words, took
from tests.core.history.test_minutes import FREE, HELD_BACK, START_RPM


@given(st.floats(1e-6, 1e12))
def test_a_scale_reaches_to_its_highest_value_in_few_steps(highest: float) -> None:
    marks = ticks(highest)
    assert marks[0] == 0
    assert marks[-1] >= highest * 0.999
    assert 2 <= len(marks) <= 6


@given(st.floats(-10, 1e13))
def test_a_value_beyond_the_scale_stays_in_the_plot(value: float) -> None:
    assert 0 <= Scale(top=100.0, height=150.0).y(value) <= 150


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.25, "0.25"), (950, "950"), (9_800, "9,800"), (12_500, "12.5k"), (2e6, "2M")],
)
def test_amounts_are_short(value: float, shown: str) -> None:
    assert amount(value) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.25, "250 ms"), (1.0, "1 s"), (1.24, "1.2 s"), (45, "45 s"), (180, "3 min")],
)
def test_latencies_are_short(seconds: float, shown: str) -> None:
    assert span(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(45, "45 s"), (155, "2 min 35 s"), (180, "3 min"), (2_280, "38 min")]
)
def test_short_times_are_exact_to_the_second(seconds: float, shown: str) -> None:
    assert took(seconds) == shown


def a_session(begin: float, minutes: int) -> Session:
    return Session(
        opened_at=begin,
        minutes=tuple(
            Minute(at=begin + 60.0 * n, seconds=60.0, attempts=1) for n in range(1, minutes + 1)
        ),
    )


@given(st.lists(st.integers(1, 2_000), min_size=1, max_size=20))
def test_the_axis_has_all_minutes_in_few_bins(lengths: list[int]) -> None:
    sessions = tuple(a_session(1e6 * n, length) for n, length in enumerate(lengths, start=1))
    axis = TimeAxis.of(RunHistory(sessions=sessions))
    assert sum(each.minute.attempts for each in axis.bins) == sum(lengths)
    assert len(axis.bins) <= MOST_BINS + 2 * len(lengths)
    places = [x for each in axis.bins for x in (each.x0, each.x1)]
    assert places == sorted(places)
    assert 0 <= places[0] <= places[-1] <= 1 + 1e-9


def test_the_pause_between_two_processes_takes_little_of_the_axis() -> None:
    axis = TimeAxis.of(RunHistory(sessions=(a_session(0, 10), a_session(1e6, 10))))
    assert axis.bins[10].x0 - axis.bins[9].x1 == pytest.approx(0.02)
    assert axis.x_of(0.0) == 0.0
    assert axis.wall_of(1.0) == pytest.approx(1e6 + 600)


def test_a_line_breaks_where_there_is_no_value() -> None:
    axis = TimeAxis.of(RunHistory(sessions=(a_session(0, 3),)))
    scale = Scale(top=1.0, height=100.0)
    gap = steps(axis.bins, lambda each: None if each is axis.bins[1] else 0.5, scale)
    assert gap.count("M") == 2
    assert area(axis.bins, lambda _: 0.0, scale) == ""


def test_an_empty_axis_has_no_bins() -> None:
    assert TimeAxis.of(RunHistory()).bins == ()


def test_a_title_says_what_limited_a_run_and_for_how_long() -> None:
    minutes = (*[HELD_BACK] * 38, *[FREE] * 3)
    assert bound_title(minutes) == "Requests per minute limited this run for 38 of 41 min"
    own = replace(HELD_BACK.lanes[0], limits=(replace(START_RPM, source="ceiling"),))
    assert bound_title((replace(HELD_BACK, lanes=(own,)),)) == (
        "Your own --rpm limited this run for all of its 60 s"
    )
    assert bound_title((FREE,)).startswith("No limit held this run back")
    assert bound_title(()) == "What limited this run is not known"


def test_what_held_a_run_back_has_a_colour_of_its_own() -> None:
    lane = FREE.lanes[0]
    waits = ("", "silence", "retry", "paused", "concurrency", "outage")
    minutes = tuple(
        replace(
            FREE,
            at=60.0 * n,
            seconds=60.0,
            lanes=(replace(lane, waits={reason: 60.0} if reason else {}),),
        )
        for n, reason in enumerate(waits, start=1)
    )
    history = RunHistory(sessions=(Session(opened_at=0.0, minutes=minutes),))
    legend = bound_strip(TimeAxis.of(history), history).legend
    colours = re.findall(r"key (c\d)", legend)
    assert len(colours) == len(set(colours)) == len(waits)


@pytest.mark.parametrize("kind", WaitKind)
def test_everything_that_a_run_waits_for_has_words(kind: WaitKind) -> None:
    assert kind in HELD_BY or kind in {WaitKind.LIMIT, WaitKind.PACE}


def test_minutes_of_batches_do_not_count_as_unlimited() -> None:
    batches = replace(FREE, lanes=())
    assert bound_title((HELD_BACK, batches, batches)).endswith("for all of its 60 s")


def test_tiers_are_named_with_their_times() -> None:
    gains = (
        TierGain(tier="build", seconds=900.0, saved_s=1_500.0),
        TierGain(tier="scale", seconds=600.0, saved_s=1_800.0),
    )
    assert list(tier_words(gains, 2_400.0)) == [
        "Faster: with the limits of the Build tier about 15 min (Scale 10 min) instead of 40 min."
    ]
    assert list(tier_words((), 60.0)) == []


def test_a_tier_that_brings_no_more_is_not_named() -> None:
    gains = (
        TierGain(tier="build", seconds=5.6, saved_s=4.4),
        TierGain(tier="scale", seconds=5.5, saved_s=4.5),
    )
    assert list(tier_words(gains, 10.0)) == [
        "Faster: with the limits of the Build tier about 6 s instead of 10 s."
    ]
