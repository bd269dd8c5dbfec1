"""A shard has one holder that counts: the one of the latest epoch."""

from __future__ import annotations

from claude_batch.core.shards.claims import Claim, Held, Take, decide, has_moved, is_superseded


def a_claim(epoch: int = 1, silent_s: float = 0.0, *, is_over: bool = False) -> Claim:
    return Claim(shard=3, epoch=epoch, holder="host:1", silent_s=silent_s, is_over=is_over)


def test_a_shard_without_a_claim_is_free() -> None:
    assert decide([]) == Take(1)


def test_a_shard_whose_holder_was_heard_is_held() -> None:
    assert decide([a_claim(silent_s=12.0)]) == Held("host:1", 18.0)


def test_a_silent_holder_is_taken_for_dead() -> None:
    assert decide([a_claim(silent_s=31.0)]) == Take(2)


def test_a_holder_that_has_let_go_is_followed_at_once() -> None:
    assert decide([a_claim(1, is_over=True), a_claim(2, is_over=True)]) == Take(3)


def test_only_the_latest_claim_counts() -> None:
    assert decide([a_claim(2, silent_s=5.0), a_claim(1, silent_s=99.0)]) == Held("host:1", 25.0)


def test_a_holder_stops_when_there_is_a_later_epoch() -> None:
    claims = [a_claim(1), a_claim(2)]
    assert [is_superseded(epoch, claims) for epoch in (1, 2)] == [True, False]


def test_a_holder_stops_when_its_claim_is_gone() -> None:
    assert is_superseded(1, [])


def test_a_holder_lives_that_was_heard_of_between_two_looks() -> None:
    before = a_claim(silent_s=4.0)
    assert has_moved(before, a_claim(silent_s=1.0), elapsed_s=7.0)
    assert has_moved(before, a_claim(epoch=2, silent_s=11.0), elapsed_s=7.0)
    assert not has_moved(before, a_claim(silent_s=10.4), elapsed_s=7.0)
