"""Which shard is placed next, what the end of a worker means, and when all of it stops."""

from __future__ import annotations

import pytest

from claude_batch.core.model.shards import ShardState, ShardView
from claude_batch.core.shards.placing import (
    LOST_AFTER_S,
    PAUSES_S,
    WAITS_S,
    Placement,
    Placing,
    State,
)


class Folder:
    """A run folder as `Placing` sees it, in virtual time; each shard has ten rows."""

    def __init__(self, shards: int, *, workers: int, detaches: bool = False) -> None:
        self.placing = Placing(workers=workers, detaches=detaches)
        self.now = 0.0
        self.epochs: dict[int, int] = {}
        self.views = {number: self.view(number) for number in range(1, shards + 1)}
        self.see()

    @staticmethod
    def view(
        shard: int, state: ShardState = ShardState.WAITING, *, done: int = 0, total: int = 10
    ) -> ShardView:
        return ShardView(shard=shard, name="a", state=state, total=total, succeeded=done)

    def see(self) -> None:
        self.placing.see(self.views.values(), self.epochs, self.now)

    def shows(self, shard: int, state: ShardState, *, done: int = 0) -> None:
        self.views[shard] = self.view(shard, state, done=done)
        self.see()

    def claimed(self, shard: int, *, done: int = 0) -> None:
        self.epochs[shard] = self.epochs.get(shard, 0) + 1
        self.shows(shard, ShardState.RUNNING, done=done)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.see()

    def placed(self) -> list[int]:
        return [each.shard for each in self.place()]

    def is_over(self) -> bool:
        return self.placing.is_over

    def place(self) -> list[Placement]:
        return self.placing.to_place(self.now)

    def ends(self, placement: Placement, code: int | None) -> State | None:
        return self.placing.ended(placement, code, self.now)


def test_at_most_so_many_shards_are_at_work_at_once() -> None:
    folder = Folder(3, workers=2)
    first, second = folder.place()
    assert (first.shard, second.shard, folder.placed()) == (1, 2, [])
    folder.ends(second, 0)
    assert folder.placed() == [3]


def test_shards_with_the_most_rows_left_come_first() -> None:
    folder = Folder(3, workers=3)
    folder.shows(1, ShardState.INTERRUPTED, done=7)
    folder.views[3] = folder.view(3, total=11)
    folder.see()
    assert folder.placed() == [3, 2, 1]


def test_it_is_over_when_every_shard_is_done() -> None:
    folder = Folder(2, workers=2)
    folder.shows(2, ShardState.FINISHED, done=10)
    (only,) = folder.place()
    assert not folder.is_over()
    assert folder.ends(only, 3) is State.DONE
    assert folder.is_over()
    assert folder.placing.stopped_by is None


@pytest.mark.parametrize(
    ("code", "pauses_s"),
    [(None, PAUSES_S), (-9, PAUSES_S), (1, PAUSES_S), (5, WAITS_S), (130, PAUSES_S)],
)
def test_a_shard_that_gets_no_further_is_placed_again_three_times(
    code: int | None, pauses_s: tuple[float, ...]
) -> None:
    folder = Folder(2, workers=1)
    folder.shows(2, ShardState.FINISHED)
    for pause_s in pauses_s:
        (placement,) = folder.place()
        assert folder.ends(placement, code) is State.WAITING
        folder.wait(pause_s - 0.1)
        assert not (pause_s and folder.place())
        folder.wait(0.1)
    (placement,) = folder.place()
    assert folder.ends(placement, code) is State.FAILED
    assert folder.is_over()
    assert folder.placing.stopped_by is None


def test_a_shard_that_gets_on_is_placed_again_at_once_however_often() -> None:
    folder = Folder(1, workers=1)
    for done in range(1, 10):
        (placement,) = folder.place()
        folder.claimed(1, done=done)
        folder.shows(1, ShardState.INTERRUPTED, done=done)
        assert folder.ends(placement, None) is State.WAITING


def test_others_go_on_when_a_shard_has_failed() -> None:
    folder = Folder(2, workers=1)
    for _ in range(4):
        folder.ends(folder.place()[0], 1)
        folder.views[2] = folder.view(2, total=5)  # it is not chosen before the first
        folder.wait(0.0)
        if folder.placing.states[1] is State.WAITING:
            folder.wait(max(PAUSES_S))
    assert folder.placing.states[1] is State.FAILED
    (other,) = folder.place()
    assert other.shard == 2
    folder.ends(other, 0)
    assert folder.is_over()


@pytest.mark.parametrize("code", [2, 4])
def test_what_is_true_of_all_shards_stops_all(code: int) -> None:
    folder = Folder(4, workers=3)
    first, second, third = folder.place()
    assert folder.ends(first, code) is State.WAITING
    assert folder.placing.to_stop() == [second, third]
    assert folder.placing.to_stop() == []
    assert folder.placed() == []
    assert not folder.is_over()
    folder.ends(second, 130)
    folder.ends(third, 0)
    assert folder.is_over()
    assert (folder.placing.stopped_by, folder.placing.because) == (code, 1)


def test_ctrl_c_stops_all() -> None:
    folder = Folder(3, workers=2)
    placed = folder.place()
    folder.placing.stop(130)
    folder.placing.stop(143)
    assert folder.placing.to_stop() == placed
    for each in placed:
        folder.ends(each, 130)
    assert (folder.is_over(), folder.placing.stopped_by) == (True, 130)


def test_a_shard_that_another_works_on_is_left_to_it_and_costs_no_attempt() -> None:
    folder = Folder(1, workers=1)
    (placement,) = folder.place()
    folder.claimed(1)
    for _ in range(9):
        assert folder.ends(placement, 5) is State.WAITING
        assert folder.placed() == []
        folder.shows(1, ShardState.INTERRUPTED)  # it is silent now
        (placement,) = folder.place()
        folder.claimed(1)
    folder.shows(1, ShardState.FINISHED)
    assert folder.ends(placement, 5) is State.DONE


def test_a_shard_that_another_finishes_is_done() -> None:
    folder = Folder(1, workers=1)
    folder.claimed(1)
    assert folder.placed() == []
    assert not folder.is_over()
    folder.shows(1, ShardState.FINISHED)
    assert folder.is_over()


def test_a_shard_whose_worker_is_silent_is_placed_again_and_its_worker_stopped() -> None:
    folder = Folder(1, workers=1)
    (zombie,) = folder.place()
    folder.wait(100.0)  # it has not begun: the cluster has no worker for it yet
    assert folder.placed() == []
    folder.claimed(1, done=4)
    folder.wait(100.0)
    folder.shows(1, ShardState.INTERRUPTED, done=4)
    assert folder.placed() == []
    folder.wait(LOST_AFTER_S)
    (other,) = folder.place()
    assert folder.placing.to_stop() == [zombie]
    folder.claimed(1, done=4)
    assert folder.ends(zombie, 5) is None
    assert folder.ends(other, 0) is State.DONE


def test_a_worker_that_lets_go_as_it_ends_is_no_zombie() -> None:
    folder = Folder(1, workers=1)
    (placement,) = folder.place()
    folder.claimed(1)
    folder.shows(1, ShardState.INTERRUPTED)
    folder.wait(LOST_AFTER_S / 2)
    assert folder.placing.to_stop() == []
    assert folder.ends(placement, 0) is State.DONE


def test_a_shard_that_met_its_part_of_the_bound_gets_another_part() -> None:
    folder = Folder(1, workers=1)
    for done in (3, 5):
        (placement,) = folder.place()
        folder.shows(1, ShardState.FAILED, done=done)
        assert folder.ends(placement, 6) is State.WAITING
        assert folder.placing.stopped_by is None
    (placement,) = folder.place()
    assert folder.ends(placement, 2) is State.WAITING  # too little is left
    assert (folder.placing.stopped_by, folder.is_over()) == (6, True)


def test_a_shard_for_which_too_little_is_left_waits_for_what_others_leave() -> None:
    folder = Folder(3, workers=3)
    first, second, third = folder.place()
    folder.ends(first, 6)
    assert folder.placed() == []
    folder.ends(second, 0)
    (again,) = folder.place()
    assert again.shard == 1
    folder.ends(again, 6)
    assert folder.placed() == []
    folder.shows(3, ShardState.FAILED, done=3)
    folder.ends(third, 6)
    last = folder.place()
    assert {each.shard for each in last} == {1, 3}
    for each in last:
        assert folder.placing.stopped_by is None
        folder.ends(each, 6)
    assert (folder.placing.stopped_by, folder.is_over()) == (6, True)


def test_all_workers_lost_at_once_are_placed_again() -> None:
    folder = Folder(2, workers=2)
    placed = folder.place()
    folder.placing.lose_all(folder.now)
    assert folder.placed() == [1, 2]
    assert [folder.ends(each, 0) for each in placed] == [None, None]


def test_batches_that_were_only_submitted_do_not_stop_the_others() -> None:
    folder = Folder(2, workers=1, detaches=True)
    assert folder.ends(folder.place()[0], 6) is State.SUBMITTED
    assert folder.ends(folder.place()[0], 6) is State.SUBMITTED
    assert (folder.is_over(), folder.placing.stopped_by) == (True, None)


def test_shards_for_which_too_little_is_left_do_not_wait_for_each_other_for_ever() -> None:
    folder, ended = Folder(3, workers=2), 0
    at_work = folder.place()
    while at_work and ended < 20:
        folder.wait(1.0)
        folder.ends(at_work.pop(0), 6)
        ended += 1
        at_work += folder.place()
    assert (ended, folder.placing.stopped_by, folder.is_over()) == (3, 6, True)
