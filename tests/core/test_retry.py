"""When to try again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model import FailureKind
from claude_batch.core.retry import COUNTED, EPISODES, LIMITED, full_jitter, total_deadline_s


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_backoff_lies_between_nothing_and_its_cap(attempt: int, drawn: float) -> None:
    assert 0 <= full_jitter(attempt, base_s=0.5, cap_s=30, draw=lambda: drawn) < 30


def test_the_range_of_a_backoff_doubles_with_each_attempt() -> None:
    waits = [full_jitter(n, base_s=1, cap_s=100, draw=lambda: 0.5) for n in (1, 2, 3)]
    assert waits == [0.5, 1.0, 2.0]


def test_every_retried_kind_is_of_one_sort() -> None:
    assert not COUNTED & EPISODES
    assert not COUNTED & LIMITED
    assert not EPISODES & LIMITED
    assert len(COUNTED | EPISODES | LIMITED) == len(FailureKind) - 4


def test_a_longer_answer_may_take_longer() -> None:
    short = total_deadline_s(max_tokens=100, input_tokens=100)
    assert 30 < short < 60
    assert total_deadline_s(max_tokens=128_000, input_tokens=100) > 7_200
