"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.ui.figures import ago, clock, percent, short, size, stops_text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (-0.2, "0"),
        (999, "999"),
        (9_999, "9,999"),
        (10_000, "10.0k"),
        (99_960, "100k"),
        (999_600, "1.00M"),
        (1_234_567, "1.23M"),
        (-12_000, "-12.0k"),
        (2.5e12, "2.50T"),
    ],
)
def test_a_number_is_shortened(number: float, text: str) -> None:
    assert short(number) == text


@given(st.floats(min_value=-999e12, max_value=999e12))
def test_a_short_number_is_short(number: float) -> None:
    assert len(short(number)) <= 6


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-:--"),
        (-3, "0:00"),
        (59.6, "1:00"),
        (754, "12:34"),
        (3_723, "1:02:03"),
        (100_000, "1 d 3 h"),
    ],
)
def test_a_span_of_time_reads_like_a_clock(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text


def test_nearly_all_is_not_all() -> None:
    assert [percent(9_999, 10_000), percent(3, 3), percent(0, 0)] == ["99 %", "100 %", "100 %"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "just now"), (300, "5 min ago"), (7_300, "2 h ago"), (200_000, "2 d ago")],
)
def test_what_happened_is_so_long_ago(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(("number", "text"), [(3, "3 B"), (12_345, "12.3 kB"), (4e13, "40.0 TB")])
def test_a_size_has_a_unit(number: float, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("stops", "broken", "text"),
    [
        ({}, 0, ""),
        ({"refusal": 1, "max_tokens": 2}, 0, "1 refused, 2 cut off by max_tokens"),
        ({"pause_turn": 3}, 3, "3 paused (pause_turn), 3 break the schema"),
        ({"end_turn": 5}, 1, "1 break the schema"),
    ],
)
def test_answers_that_are_not_what_was_asked_for_are_counted(
    stops: dict[str, int], broken: int, text: str
) -> None:
    assert stops_text(stops, broken) == text
