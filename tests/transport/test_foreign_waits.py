"""How long servers of other makers ask to wait."""

from __future__ import annotations

import pytest

from claude_batch.transport.foreign_waits import foreign_wait_s

NOW = 1_796_040_000.0  # 2026-11-30 12:00:00 UTC


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("Rate limit reached. Please try again in 20s.", 20.0),
        ("Please try again in 1m12s. Visit ...", 72.0),
        ("Please try again in 350ms.", 0.35),
        ("Please retry after 7 seconds.", 7.0),
        ("try again in 2 minutes", 120.0),
        ("Limit resets at: 2026-11-30 12:00:40 UTC", 40.0),
        ("limit resets at 2026-11-30T12:00:40Z", 40.0),
        ("resets at 2026-11-30 11:59:00 UTC", 0.0),
        ("resets at 2026-99-30 11:59:00 UTC", None),
        ("Rate limited. Try again later.", None),
        ("", None),
    ],
)
def test_a_wait_in_a_message(text: str, wait_s: float | None) -> None:
    assert foreign_wait_s({}, text, NOW) == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (b"1m30s", 90.0),
        (b"12ms", 0.012),
        (b"17", 17.0),
        (b"1796040030", 30.0),
        (b"soon", None),
        (b"nan", None),
        (b"", None),
    ],
)
def test_a_wait_in_a_header(value: bytes, wait_s: float | None) -> None:
    headers = {b"x-ratelimit-remaining-requests": b"0", b"x-ratelimit-reset-requests": value}
    assert foreign_wait_s(headers, "", NOW) == pytest.approx(wait_s)


def test_a_limit_of_which_something_is_left_asks_for_no_wait() -> None:
    headers = {b"x-ratelimit-remaining-tokens": b"7", b"x-ratelimit-reset-tokens": b"20s"}
    assert foreign_wait_s(headers, "", NOW) is None
