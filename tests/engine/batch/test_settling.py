"""Creates without an answer and batches that cannot be found, in virtual time."""

from __future__ import annotations

import pytest

from claude_batch.core.batch.events import BatchUnknown
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.errors import CheckpointError
from tests.support.batch_world import World, every, settings, some
from tests.support.fake_batches import (
    EPOCH,
    PretendBatches,
    a_refusal,
)


def test_a_create_whose_answer_was_lost_is_found_and_not_repeated() -> None:
    world = World(some(10), PretendBatches(lose={1: "after"}))
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 1)


def test_a_lost_create_is_found_though_lists_lag() -> None:
    world = World(some(10), PretendBatches(lose={1: "after"}, list_lag_s=200.0))
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 1)


def test_a_create_that_made_no_batch_is_repeated_once_that_is_certain() -> None:
    world = World(some(10), PretendBatches(lose={1: "before"}))
    world.run()
    assert world.lines == every(10)
    assert world.server.batches[0].created_at >= 300.0


def test_nothing_is_submitted_while_a_create_is_unsettled() -> None:
    world = World(some(300), PretendBatches(lose={1: "before"}))
    world.run()
    assert min(batch.created_at for batch in world.server.batches) >= 300.0


def test_of_two_batches_that_may_be_it_the_ids_tell() -> None:
    world = World(some(10), PretendBatches(lose={1: "after"}))
    world.server.add_foreign(10, created_at=0.5, ends_at=400.0)
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 1)


def test_somebody_elses_batch_of_the_same_size_is_not_taken_for_it() -> None:
    world = World(some(10), PretendBatches(lose={1: "before"}))
    world.server.add_foreign(10, created_at=0.5, ends_at=400.0)
    world.run()
    assert (world.lines, world.server.creates) == (every(10), 2)


def test_a_list_that_cannot_be_read_in_full_settles_nothing() -> None:
    world = World(some(10), PretendBatches(lose={1: "after"}, unread=1))
    end = world.run()
    assert isinstance(end, Stop)
    assert end.kind is StopKind.PATIENCE
    assert world.server.creates == 1


def test_a_candidate_without_results_needs_a_person_to_look_at_it() -> None:
    world = World(some(10), PretendBatches(lose={1: "before"}))
    foreign = world.server.add_foreign(10, created_at=0.5, ends_at=400.0)
    world.server.batches[0].archived_at = EPOCH + 1
    with pytest.raises(CheckpointError, match=foreign):
        world.run()


def test_a_short_404_after_a_create_means_nothing() -> None:
    world = World(some(10), PretendBatches(short_404_s=60.0))
    assert world.run() is None
    assert world.lines == every(10)


def test_a_batch_that_is_not_known_needs_a_person_to_look_at_it() -> None:
    world = World(some(10), PretendBatches(short_404_s=1e9))
    with pytest.raises(CheckpointError, match="msgbatch_1"):
        world.run()


def test_a_batch_that_is_not_known_is_reported_once() -> None:
    world = World(some(10), PretendBatches(short_404_s=1e9))
    with pytest.raises(CheckpointError):
        world.run()
    assert [event for event in world.events if isinstance(event, BatchUnknown)] == [
        BatchUnknown("msgbatch_1", a_refusal(404))
    ]


def test_a_resumed_run_does_not_wait_again_for_a_batch_that_has_been_gone_for_long() -> None:
    world = World(some(10), PretendBatches(short_404_s=1e9))
    with pytest.raises(CheckpointError):
        world.run()
    before_s = world.took_s
    with pytest.raises(CheckpointError, match="msgbatch_1"):
        world.run()
    assert world.took_s - before_s < 60.0


def test_the_requests_of_a_batch_that_is_not_known_go_again_when_asked_to() -> None:
    world = World(some(10), PretendBatches(short_404_s=1e9))
    with pytest.raises(CheckpointError):
        world.run()
    world.server.short_404_s, world.server.batches = 0.0, []
    world.settings = settings(give_up_missing=True)
    world.run()
    assert world.lines == every(10)
