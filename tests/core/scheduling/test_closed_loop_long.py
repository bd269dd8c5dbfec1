"""Answers that take as long as a bucket takes to fill: OTPM-bound, in a closed loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.closed_loop import Load, Loop, Outcome
from tests.support.forms import first
from tests.support.server_model import OTPM, ServerSpec

SAMPLED_AND_GENERATED = [
    *(("end", "along"), ("start", "end")),
    *(("start", "along"), ("end", "end")),
]
SPEC = ServerSpec(rpm=4_000, itpm=10**8, otpm=10**6, base_s=1.0)


def long_answers(
    tokens: int,
    *,
    per_s: float = 80.0,
    spread: float = 0.5,
    minutes: float = 4.0,
    **changes: Any,
) -> Outcome:
    """Return a run of answers of so many tokens that the bucket and `minutes` of refill bear."""
    spec = replace(SPEC, per_output_token_s=1 / per_s, **changes)
    load = Load(
        count=int(10**6 * minutes / tokens),
        output_tokens=tokens,
        output_spread=spread,
        max_tokens=16_000,
    )
    return Loop(spec=spec, load=load).run()


@pytest.mark.parametrize(("sampled", "generated"), first(1, SAMPLED_AND_GENERATED))
@pytest.mark.parametrize(("tokens", "per_s"), [(1_000, 80.0), (2_000, 80.0), (4_000, 100.0)])
def test_the_limit_is_used_without_429s(
    tokens: int, per_s: float, sampled: str, generated: str
) -> None:
    out = long_answers(tokens, per_s=per_s, sampled=sampled, generated=generated)
    assert (out.used >= 0.97, out.share_refused() <= 0.005) == (True, True)


@pytest.mark.parametrize("spread", [0.3, 0.8])
def test_however_much_answers_differ_the_limit_is_used_without_429s(spread: float) -> None:
    out = long_answers(3_000, per_s=100.0, spread=spread)
    assert (out.used >= 0.97, out.share_refused() <= 0.005) == (True, True)


def test_a_bucket_that_holds_less_than_an_answer_takes_is_used_without_429s() -> None:
    out = long_answers(3_000, per_s=100.0, fill=0.25, holds_s={OTPM: 15.0})
    assert (out.used >= 0.97, out.share_refused() <= 0.005) == (True, True)


@pytest.mark.parametrize("from_s", first(1, [20.0, 0.0, 60.0]))
@pytest.mark.parametrize("tokens", first(2, [1_000, 3_000, 300]))
def test_another_program_is_left_its_half_without_429s(tokens: int, from_s: float) -> None:
    out = long_answers(tokens, per_s=100.0, minutes=3.0, competitor=0.5, competitor_from_s=from_s)
    assert (out.used >= 0.95, out.share_refused(after_s=30) <= 0.01) == (True, True)


def test_the_half_of_another_program_is_used_once_that_is_gone() -> None:
    out = long_answers(3_000, per_s=100.0, competitor=0.5, competitor_until_s=60.0)
    assert (out.used >= 0.95, out.share_refused() <= 0.005) == (True, True)
