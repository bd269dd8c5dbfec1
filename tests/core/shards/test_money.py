"""--max-cost over all shards is kept, however many processes claim shards at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.shards.money import ShardMoney, adjusted_slice_usd, most_usd, slice_usd


def money(shard: int, spent: float, left: int, held: float | None = None) -> ShardMoney:
    return ShardMoney(shard=shard, spent_usd=spent, rows_left=left, held_usd=held)


def test_what_is_free_is_divided_by_rows() -> None:
    shards = [money(0, 1.0, 0), money(1, 0.0, 30), money(2, 0.5, 10)]
    assert slice_usd(5.5, 1, shards, whole=False) == pytest.approx(3.0)
    assert slice_usd(5.5, 2, shards, whole=False) == pytest.approx(0.5 + 1.0)


def test_what_others_may_still_spend_is_not_free() -> None:
    shards = [money(0, 1.0, 10, held=4.0), money(1, 0.0, 10)]
    assert slice_usd(5.0, 1, shards, whole=False) == pytest.approx(1.0)


def test_who_works_on_one_after_another_has_all_that_is_free() -> None:
    shards = [money(0, 1.0, 10), money(1, 0.0, 90)]
    assert slice_usd(5.0, 0, shards, whole=True) == pytest.approx(5.0)


def test_nothing_is_left_of_a_bound_that_is_spent() -> None:
    assert slice_usd(1.0, 1, [money(0, 2.0, 0), money(1, 0.0, 5)], whole=True) == 0.0


def test_what_all_may_come_to_is_what_is_spent_and_held() -> None:
    shards = [money(0, 1.0, 0), money(1, 0.5, 3, held=2.0), money(2, 3.0, 3, held=2.0)]
    assert most_usd(shards) == 1.0 + 2.0 + 3.0


@given(
    rows=st.lists(st.integers(1, 1_000), min_size=1, max_size=6),
    seen=st.lists(st.integers(0, 6), min_size=6, max_size=6),
)
def test_claims_at_the_same_moment_stay_within_the_bound(rows: list[int], seen: list[int]) -> None:
    held: list[float] = []
    for shard in range(len(rows)):
        known = held[: seen[shard]]  # the claims of others that this process has seen
        shards = [
            money(each, 0.0, left, known[each] if each < len(known) else None)
            for each, left in enumerate(rows)
        ]
        held.append(slice_usd(10.0, shard, shards, whole=False))
    assert sum(held) <= 10.0 + 1e-6


def test_another_bound_is_all_for_a_process_that_works_alone() -> None:
    shards = [money(1, 2.0, 0), money(2, 1.0, 30), money(3, 0.0, 50)]
    assert adjusted_slice_usd(10.0, 2, shards, whole=True) == pytest.approx(1.0 + 7.0)


@given(
    spent=st.lists(st.floats(0, 5), min_size=3, max_size=3),
    rows=st.lists(st.integers(1, 100), min_size=3, max_size=3),
    bound=st.floats(0, 100),
)
def test_processes_that_get_another_bound_at_once_stay_within_it(
    spent: list[float], rows: list[int], bound: float
) -> None:
    at_work = [money(n + 1, spent[n], rows[n], held=20.0) for n in range(3)]
    slices = 0.0
    for own in at_work:
        others = [each for each in at_work if each is not own]
        mine = replace(own, held_usd=None)
        slices += adjusted_slice_usd(bound, own.shard, [mine, *others], whole=True)
    assert slices <= max(bound, sum(spent)) + 1e-6
