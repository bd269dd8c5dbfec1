"""Placing shards on workers: which one next, what its end means, and when to stop.

What is at work and what has failed is known here; what is done is in the run folder. Nothing of
this has to outlive the process: another one begins with what the folder shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from claude_batch.core.model.shards import ShardState, ShardView
from claude_batch.core.shards.claims import LOOK_EVERY_S

MOST_AGAIN = 3
"""How often in a row a shard is placed again although it got no further."""

PAUSES_S = (0.0, 2.0, 10.0)
"""Before it is placed again for the first, second and third time in a row."""

WAITS_S = (5.0, 10.0, 30.0)
"""The same where storage, or the server that limits are shared by, did not answer: it may soon."""

LOST_AFTER_S = LOOK_EVERY_S
"""A shard at work that nobody has held for so long, in seconds, is placed again."""

_DONE = frozenset({0, 3})
_STOPPING = frozenset({2, 4})
_USAGE = 2
_BOUNDED = 6
_CHECKPOINT = 5


class State(StrEnum):
    """What is the matter with a shard."""

    WAITING = "waiting"
    AT_WORK = "at work"
    DONE = "done"
    SUBMITTED = "submitted"  # its batches are; it was asked for no more
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """A shard, placed on a worker; `number` tells those of one shard apart."""

    shard: int
    number: int


@dataclass(slots=True, kw_only=True)
class _Shard:
    """A shard as it is known here; `results` is how many were ever seen.

    `again`: how often in a row it was placed again and got no further. `unheld_since`: nobody has
    been working on it since then, although somebody should. `is_poor`: too little is left for it.
    """

    view: ShardView
    results: int = 0
    epoch: int = 0
    state: State = State.WAITING
    placement: Placement | None = None
    placed_epoch: int = 0
    results_before: int = 0
    again: int = 0
    due_at: float = 0.0
    unheld_since: float | None = None
    is_poor: bool = False


@dataclass(slots=True, kw_only=True)
class Placing:
    """Decides where a run folder goes on. Times are those of one clock, in seconds.

    `stopped_by` is the exit code that has stopped the whole, `because` the shard it came from.
    """

    workers: int
    detaches: bool = False
    stopped_by: int | None = None
    because: int | None = None
    _shards: dict[int, _Shard] = field(default_factory=dict)
    _to_stop: list[Placement] = field(default_factory=list)
    _placed: int = 0
    _has_met_bound: bool = False

    def see(self, views: Iterable[ShardView], epochs: Mapping[int, int], now: float) -> None:
        """Take in what the run folder shows: all shards, and the latest claim on each, if any."""
        for view in views:
            shard = self._shards.setdefault(view.shard, _Shard(view=view))
            shard.view, shard.epoch = view, epochs.get(view.shard, 0)
            shard.results = max(shard.results, view.done)
            is_done = view.state is ShardState.FINISHED
            if shard.state is State.WAITING and is_done:
                shard.state = State.DONE
            elif shard.state is State.AT_WORK:
                self._look_after(shard, now)

    def _look_after(self, shard: _Shard, now: float) -> None:
        """Place a shard again whose worker has claimed it, and holds it no more.

        A worker that ends lets go of its shard a moment before.
        """
        is_claimed = shard.epoch > shard.placed_epoch
        if not is_claimed or shard.view.state in {ShardState.RUNNING, ShardState.FINISHED}:
            shard.unheld_since = None
        elif shard.unheld_since is None:
            shard.unheld_since = now
        elif now - shard.unheld_since >= LOST_AFTER_S and shard.placement is not None:
            self._to_stop.append(shard.placement)
            self._again(shard, now, PAUSES_S)

    def ended(self, placement: Placement, code: int | None, now: float) -> State | None:
        """Take in how a worker has ended (None: it was lost); return what its shard is then.

        The shard has been seen since. None: another worker has taken it over long ago.
        """
        shard = self._shards[placement.shard]
        if shard.placement != placement:
            return None
        if code not in {_BOUNDED, _USAGE} or self._got_on(shard):  # it may have left something
            for each in self._shards.values():
                each.is_poor = False
        is_held = shard.view.state is ShardState.RUNNING
        if code in _DONE or shard.view.state is ShardState.FINISHED:
            shard.placement, shard.state = None, State.DONE
        elif code == _BOUNDED and self.detaches:
            shard.placement, shard.state = None, State.SUBMITTED
        elif self.stopped_by is not None:
            shard.placement, shard.state = None, State.WAITING
        elif code == _BOUNDED or (code == _USAGE and self._has_met_bound):
            self._met_bound(shard, now)
        elif code in _STOPPING:
            shard.placement, shard.state = None, State.WAITING
            self.stop(code, because=shard.view.shard)
        elif code == _CHECKPOINT and is_held:
            shard.placement, shard.state = None, State.WAITING  # another has it: no fault
        else:
            self._again(shard, now, WAITS_S if code == _CHECKPOINT else PAUSES_S)
        return shard.state

    def _met_bound(self, shard: _Shard, now: float) -> None:
        """Take in that a shard has used up its part of the bound, or gets none.

        Others may leave something of theirs: it is placed again when it got on, or one that did has
        ended. Two that got nowhere would wait for each other for ever.
        """
        got_on, shard.placement, shard.state = self._got_on(shard), None, State.WAITING
        self._has_met_bound, shard.due_at = True, now
        if not got_on and not self._count(State.AT_WORK):
            self.stop(_BOUNDED, because=shard.view.shard)
        shard.is_poor = not got_on

    def lose_all(self, now: float) -> None:
        """Take in that all workers are lost."""
        for shard in self._shards.values():
            if shard.placement is not None:
                self.ended(shard.placement, None, now)
        self._to_stop.clear()

    def _got_on(self, shard: _Shard) -> bool:
        """Return whether a shard has more results than when it was placed."""
        return shard.results > shard.results_before

    def _again(self, shard: _Shard, now: float, pauses_s: Sequence[float]) -> None:
        """Let a shard be placed again, unless it gets nowhere."""
        shard.again = 1 if self._got_on(shard) else shard.again + 1
        shard.placement, shard.unheld_since = None, None
        if shard.again > MOST_AGAIN:
            shard.state = State.FAILED
        else:
            shard.state = State.WAITING
            shard.due_at = now + pauses_s[shard.again - 1]

    def stop(self, code: int, *, because: int | None = None) -> None:
        """Place nothing any more; those at work are stopped."""
        if self.stopped_by is None:
            self.stopped_by, self.because = code, because
            self._to_stop += [
                each.placement for each in self._shards.values() if each.placement is not None
            ]

    def to_stop(self) -> list[Placement]:
        """Return the workers that have to stop, each once."""
        found, self._to_stop = self._to_stop, []
        return found

    def to_place(self, now: float) -> list[Placement]:
        """Return what is placed now: shards with the most rows left first."""
        if self.stopped_by is not None:
            return []
        free = self.workers - self._count(State.AT_WORK)
        due = [
            each
            for each in self._shards.values()
            if each.state is State.WAITING
            and not each.is_poor
            and each.view.state is not ShardState.RUNNING
            and each.due_at <= now
        ]
        due.sort(key=lambda each: (each.results - each.view.total, each.view.shard))
        return [self._place(each) for each in due[: max(0, free)]]

    def _place(self, shard: _Shard) -> Placement:
        self._placed += 1
        shard.placement = Placement(shard=shard.view.shard, number=self._placed)
        shard.state = State.AT_WORK
        shard.placed_epoch, shard.results_before = shard.epoch, shard.results
        return shard.placement

    @property
    def is_over(self) -> bool:
        """Whether nothing is at work, and nothing will be placed."""
        if self._count(State.AT_WORK):
            return False
        return self.stopped_by is not None or not self._count(State.WAITING)

    @property
    def at_work(self) -> int:
        """How many shards are placed."""
        return self._count(State.AT_WORK)

    @property
    def states(self) -> Mapping[int, State]:
        """What is the matter with each shard."""
        return {number: each.state for number, each in self._shards.items()}

    def _count(self, state: State) -> int:
        return sum(each.state is state for each in self._shards.values())
