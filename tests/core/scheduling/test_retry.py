"""When to try again."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.requests import FailureKind
from claude_batch.core.scheduling.retry import (
    COUNTED,
    LIMITED,
    OUTAGES,
    SLIGHT_JITTER,
    attempt_timeout_s,
    backoff_s,
    retry_delay_s,
)
from tests.support.fakes import a_request


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_backoff_lies_between_nothing_and_its_cap(attempt: int, drawn: float) -> None:
    assert 0 <= backoff_s(attempt, base_s=0.5, cap_s=30, rng=lambda: drawn) < 30


def test_the_range_of_a_backoff_doubles_with_each_attempt() -> None:
    waits = [backoff_s(n, base_s=1, cap_s=100, rng=lambda: 0.5) for n in (1, 2, 3)]
    assert waits == [0.5, 1.0, 2.0]


def test_a_slight_jitter_keeps_a_backoff_within_a_fifth() -> None:
    waits = [
        backoff_s(5, base_s=1, cap_s=10, rng=lambda drawn=drawn: drawn, jitter=SLIGHT_JITTER)  # type: ignore[misc]
        for drawn in (0.0, 0.5, 1.0)
    ]
    assert waits == [8.0, 10.0, 12.0]


def test_a_backoff_is_at_least_what_the_answer_asks_for() -> None:
    assert backoff_s(1, base_s=1, cap_s=10, rng=lambda: 0.5, asked_s=9.0) == 9.0


def test_every_retried_kind_is_in_one_set() -> None:
    assert not COUNTED & OUTAGES
    assert not COUNTED & LIMITED
    assert not OUTAGES & LIMITED
    assert set(FailureKind) - (COUNTED | OUTAGES | LIMITED) == {
        FailureKind.REQUEST_REJECTED,
        FailureKind.MODEL_FORBIDDEN,
        FailureKind.ENDPOINT_REJECTED,
        FailureKind.ENDPOINT_UNUSABLE,
        FailureKind.RUN_REFUSED,
        FailureKind.EXPIRED,
        FailureKind.CANCELED,
    }


def test_a_longer_answer_may_take_longer() -> None:
    short = attempt_timeout_s(replace(a_request(), max_tokens=100))
    assert 30 < short < 60
    assert attempt_timeout_s(replace(a_request(), max_tokens=128_000)) > 7_200


def waits_s(kind: FailureKind, *, named_s: float | None, only: bool, paused: bool = False) -> float:
    return retry_delay_s(
        kind,
        counts=kind in COUNTED,
        failures=1,
        asked_s=named_s,
        only_endpoint=only,
        is_paused=paused,
        rng=lambda: 1.0,
    )


def test_a_request_waits_as_long_as_a_429_asks() -> None:
    assert waits_s(FailureKind.RATE_LIMITED, named_s=90.0, only=True) == 90.0


def test_a_429_with_a_long_wait_sends_the_request_to_another_endpoint() -> None:
    assert waits_s(FailureKind.RATE_LIMITED, named_s=90.0, only=False) == 0.0


def test_a_short_wait_is_kept_unless_the_lane_is_paused_so_that_it_cannot_return_there() -> None:
    paused = [
        waits_s(FailureKind.RATE_LIMITED, named_s=2.0, only=False, paused=paused)
        for paused in (False, True)
    ]
    assert paused == [2.0, 0.0]


def test_a_backoff_is_never_shorter_than_what_is_asked_for() -> None:
    assert waits_s(FailureKind.OVERLOADED, named_s=7.0, only=True) == 7.0
