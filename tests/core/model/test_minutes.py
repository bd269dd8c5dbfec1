"""Latencies by bucket, and how long the figures of a run are."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.minutes import (
    bucket_start_s,
    latency_bucket,
    length_s,
    merged_counts,
    percentile_s,
)

LATENCIES = st.lists(st.floats(0.01, 3_600), min_size=1, max_size=200)


@given(LATENCIES, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_found_to_within_ten_percent(latencies: list[float], share: float) -> None:
    exact = sorted(latencies)[max(0, -(-len(latencies) * share // 1).__int__() - 1)]
    found = percentile_s(Counter(map(latency_bucket, latencies)), share)
    assert found == pytest.approx(exact, rel=0.1)


@given(st.floats(0.001, 100_000))
def test_a_latency_lies_in_its_bucket(seconds: float) -> None:
    bucket = latency_bucket(seconds)
    assert bucket_start_s(bucket) <= seconds * 1.000001
    assert seconds < bucket_start_s(bucket + 1) * 1.000001


def test_no_latency_is_a_bucket_of_its_own() -> None:
    assert latency_bucket(0.0) == latency_bucket(0.001)


def test_without_answers_there_is_no_percentile() -> None:
    assert percentile_s({}, 0.5) is None


def test_figures_become_coarser_as_a_run_grows_older() -> None:
    assert [length_s(elapsed) for elapsed in (0, 59, 60, 299, 300, 80_000)] == [
        5,
        5,
        15,
        15,
        60,
        60,
    ]


def test_counts_are_added_up_by_name() -> None:
    assert merged_counts([{"a": 1}, {"a": 2, "b": 3}]) == {"a": 3, "b": 3}
