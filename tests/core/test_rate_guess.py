"""A launch rate learned from 429s alone."""

from __future__ import annotations

import pytest

from claude_batch.core.rate_guess import RateGuess
from tests.support.closed_loop import Load, Loop
from tests.support.server_model import ITPM, OTPM, RPM, ServerSpec


def launch(guess: RateGuess, count: int, from_s: float, until_s: float) -> None:
    for number in range(count):
        guess.launched(from_s + (until_s - from_s) * number / count)


def often_refused() -> RateGuess:
    """Return a guess that has seen refusals in every eighth attempt."""
    guess = RateGuess()
    for _ in range(11):
        guess.refused(-1.0, 0.0, wait_s=0.0)
        for _ in range(8):
            guess.answered()
    guess.begin_anew()
    return guess


def test_one_refusal_tells_nothing_yet() -> None:
    guess = RateGuess()
    launch(guess, 100, 0.0, 10.0)
    guess.refused(10.0, 10.0, wait_s=1.0)
    assert guess.ready_at(10.0) == 10.0


def test_what_was_taken_between_two_refusals_is_the_rate() -> None:
    guess = often_refused()
    guess.refused(10.0, 10.0, wait_s=1.0)
    launch(guess, 200, 11.0, 29.0)
    guess.refused(30.0, 30.0, wait_s=1.0)
    assert guess.per_s == pytest.approx(10.0, rel=0.05)


def test_launches_that_were_refused_after_all_do_not_count() -> None:
    guess = often_refused()
    guess.refused(10.0, 10.0, wait_s=1.0)
    launch(guess, 200, 11.0, 29.0)
    for _ in range(51):
        guess.refused(30.0, 30.0, wait_s=1.0)
    assert guess.per_s == pytest.approx(7.5, rel=0.05)


def test_the_rate_grows_while_nothing_is_refused() -> None:
    guess = often_refused()
    guess.refused(10.0, 10.0, wait_s=1.0)
    launch(guess, 200, 11.0, 29.0)
    guess.refused(30.0, 30.0, wait_s=1.0)
    assert guess.per_s is not None
    before = guess.per_s
    launch(guess, 1_000, 31.0, 110.0)
    assert guess.per_s > 2 * before


def test_refusals_that_come_now_and_then_bring_no_guess() -> None:
    guess = RateGuess()
    for second in range(100):
        guess.launched(float(second))
        for _ in range(24):
            guess.answered()
        guess.refused(second + 0.1, second + 0.1, wait_s=0.2)
    assert guess.per_s is None


@pytest.mark.parametrize(
    "spec",
    [
        ServerSpec(rpm=1_000, headers=False),
        ServerSpec(rpm=1_000, headers=False, holds_s={RPM: 1.0}),
        ServerSpec(rpm=1_000, headers=False, retry_after=False),
        ServerSpec(rpm=None, itpm=300_000, headers=False, holds_s={ITPM: 60.0}),
        ServerSpec(rpm=None, itpm=None, otpm=100_000, headers=False, holds_s={OTPM: 60.0}),
    ],
    ids=["rpm", "rpm by the second", "no retry-after", "itpm", "otpm"],
)
def test_without_headers_limits_are_used_and_429s_become_rare(spec: ServerSpec) -> None:
    out = Loop(spec=spec, load=Load(count=3_000)).run()
    assert (out.used >= 0.97, out.share_refused(after_s=60) <= 0.02) == (True, True)
