"""Headers are read as far as they can be read; nothing in them raises."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.requests import NO_HEADERS, LimitKind, LimitReading, ResponseHeaders
from claude_batch.transport.headers import LONGEST_WAIT_S, read_headers

NOW = 1_795_514_400.0
NOW_AS_DATE = b"Tue, 24 Nov 2026 10:00:00 GMT"

NINE = [
    (b"anthropic-ratelimit-requests-limit", b"1000"),
    (b"Anthropic-RateLimit-Requests-Remaining", b"999"),
    (b"anthropic-ratelimit-requests-reset", b"2026-11-24T10:00:01Z"),
    (b"anthropic-ratelimit-input-tokens-limit", b"2000000"),
    (b"anthropic-ratelimit-input-tokens-remaining", b"1999000"),
    (b"anthropic-ratelimit-input-tokens-reset", b"2026-11-24T10:00:02.5+00:00"),
    (b"anthropic-ratelimit-output-tokens-limit", b"400000"),
    (b"anthropic-ratelimit-output-tokens-remaining", b"0"),
    (b"anthropic-ratelimit-output-tokens-reset", b"2026-11-24T10:01:00Z"),
]


def read(*raw: tuple[bytes, bytes], wall: float = NOW) -> ResponseHeaders:
    return read_headers(raw, wall=wall)


def wait_of(value: bytes, *more: tuple[bytes, bytes]) -> float | None:
    return read((b"retry-after", value), *more).retry_after_s


def test_no_headers_say_nothing() -> None:
    assert read() == NO_HEADERS


def test_the_nine_limit_headers_are_read() -> None:
    assert read(*NINE).limits == (
        LimitReading(
            kind=LimitKind.REQUESTS, limit_per_minute=1000, remaining=999, full_at=NOW + 1
        ),
        LimitReading(
            kind=LimitKind.INPUT_TOKENS,
            limit_per_minute=2_000_000,
            remaining=1_999_000,
            full_at=NOW + 2.5,
        ),
        LimitReading(
            kind=LimitKind.OUTPUT_TOKENS, limit_per_minute=400_000, remaining=0, full_at=NOW + 60
        ),
    )


COMBINED = (
    (b"anthropic-ratelimit-tokens-limit", b"500000"),
    (b"anthropic-ratelimit-tokens-remaining", b"480000"),
    (b"anthropic-ratelimit-tokens-reset", b"2026-11-24T10:00:02Z"),
)


def test_the_combined_token_limit_is_left_alone_where_the_others_are_sent() -> None:
    separate = (b"anthropic-ratelimit-output-tokens-limit", b"5")
    assert [limit.kind for limit in read(separate, *COMBINED).limits] == [LimitKind.OUTPUT_TOKENS]


def test_the_combined_token_limit_counts_where_it_is_all_that_is_sent() -> None:
    (limit,) = read(*COMBINED).limits
    assert limit == LimitReading(
        kind=LimitKind.INPUT_TOKENS,
        limit_per_minute=500_000,
        remaining=480_000,
        full_at=NOW + 2.0,
        combined=True,
    )


def test_a_limit_may_come_alone() -> None:
    (reading,) = read((b"anthropic-ratelimit-requests-limit", b"50")).limits
    assert (reading.limit_per_minute, reading.remaining, reading.full_at) == (50, None, None)


@pytest.mark.parametrize("value", [b"", b"many", b"-5", b"nan", b"inf", b"\xff"])
def test_a_limit_that_is_no_count_is_absent(value: bytes) -> None:
    (reading,) = read((b"anthropic-ratelimit-requests-limit", value)).limits
    assert reading.limit_per_minute is None


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        (b"12", 12.0),
        (b"0.25", 0.25),
        (b"0", 0.0),
        (b"-3", None),
        (b"Tue, 24 Nov 2026 10:00:30 GMT", 30.0),
        (b"Tue, 24 Nov 2026 09:00:00 GMT", None),
        (b"99999999999", LONGEST_WAIT_S),
        (b"1e999", None),
        (b"nan", None),
        (b"soon", None),
        (b"", None),
        (b"\xff\xfe", None),
    ],
)
def test_a_wait_is_read_as_seconds_or_as_a_date(value: bytes, wait_s: float | None) -> None:
    assert wait_of(value) == wait_s


def test_a_wait_as_a_date_is_counted_from_the_servers_date() -> None:
    told = read(
        (b"retry-after", b"Tue, 24 Nov 2026 10:00:30 GMT"), (b"date", NOW_AS_DATE), wall=NOW + 500
    )
    assert told.retry_after_s == 30.0


def test_milliseconds_win_over_seconds() -> None:
    assert wait_of(b"12", (b"retry-after-ms", b"1500")) == 1.5


def test_the_servers_time_is_read() -> None:
    assert read((b"Date", NOW_AS_DATE)).server_time == NOW


@pytest.mark.parametrize(
    "value", [b"now", b"Tue, 99 Nov 2026 10:00:00 GMT", b"Tue, 24 Nov 99999 10:00:00 GMT"]
)
def test_a_date_that_is_none_is_absent(value: bytes) -> None:
    assert read((b"date", value)).server_time is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([name for name, _ in NINE] + [b"date", b"retry-after", b"request-id"]),
            st.binary(max_size=40),
        )
    )
)
def test_nothing_that_a_server_says_raises(raw: list[tuple[bytes, bytes]]) -> None:
    wait_s = read(*raw).retry_after_s
    assert wait_s is None or (math.isfinite(wait_s) and wait_s >= 0)
