"""How many attempts may be in flight: growth, cuts, and what bounds both."""

from __future__ import annotations

from claude_batch.core.window import FIRST_WINDOW, Window


def grown(size: float, most: int = 1_000) -> Window:
    window = Window(most=most)
    while window.size < size:
        window.succeeded(window.limit)
    return window


def test_a_used_window_doubles_in_a_round_trip() -> None:
    window = Window(most=1_000)
    for _ in range(int(FIRST_WINDOW)):
        window.succeeded(window.limit)
    assert window.limit == 2 * FIRST_WINDOW


def test_a_window_that_is_not_used_does_not_grow() -> None:
    window = Window(most=1_000)
    window.succeeded(3)
    assert window.size == FIRST_WINDOW


def test_a_window_never_exceeds_its_bound() -> None:
    window = Window(most=20)
    for _ in range(100):
        window.succeeded(window.limit)
    assert window.limit == 20


def test_an_episode_cuts_once() -> None:
    window = grown(64)
    for _ in range(10):
        window.cut(launched_at=1.0, now=2.0)
    assert window.limit == 32


def test_there_is_always_room_for_one() -> None:
    window = grown(64)
    for second in range(20):
        window.cut(launched_at=second + 0.5, now=float(second))
    assert window.limit == 1


def test_after_a_long_outage_slow_start_leads_back_to_half() -> None:
    window = grown(64)
    for second in range(20):
        window.cut(launched_at=second + 0.5, now=float(second))
    replies = 0
    while window.limit < 32:
        window.succeeded(window.limit)
        replies += 1
    assert replies <= 32


def test_past_the_threshold_growth_is_one_a_round_trip() -> None:
    window = grown(64)
    window.cut(launched_at=1.0, now=2.0)
    for _ in range(33):
        window.succeeded(window.limit)
    assert window.limit == 33
