"""A lane's part in a lease: what it claims of limits that other programs use, too.

A lane that waits for its limits claims all it can get. One that something else holds back (its own
`--rpm`, its concurrency, the end of its input) claims what it uses and a little more, so that the
others get the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from claude_batch.core.model.sharing import Sharer, SharingView
from claude_batch.core.model.snapshot import LimitSource, WaitKind, WaitReason

_ROOM = 1.15
"""A lane that is held back claims this many times what it uses, so that it can grow."""

_FADE = 0.8
"""Factor on an earlier use at each claim: a short gap does not count as the end of it."""

_HELD_BACK = frozenset(
    {
        WaitKind.CONCURRENCY,
        WaitKind.RETRY,
        WaitKind.PREFIX,
        WaitKind.BUDGET,
        WaitKind.INPUT,
        WaitKind.DISK,
    }
)
"""What holds a lane back and has nothing to do with the limits it shares."""

_OWN = frozenset({LimitSource.CEILING, LimitSource.SHARE})


@dataclass(slots=True, kw_only=True)
class LaneSharing:
    """What a lane knows of its lease. `number` distinguishes the lanes of this program.

    `held` is its share, None before the first grant. `lost`: the lease could not be reached last
    time. `silent`: replies report no limits, so none are shared.
    """

    number: int
    held: float | None = None
    others: tuple[Sharer, ...] = ()
    lost: bool = False
    silent: bool = False
    _used: float = 0.0

    def demand(
        self, used: float, wait: WaitReason | None, *, queued: int, more_to_come: bool
    ) -> float | None:
        """Return which part of the limits the lane can use; None: all it can get.

        `used` is the part it uses now, `wait` why it sends nothing more at this moment.
        """
        if not queued and not more_to_come:
            self._used = 0.0
            return 0.0
        self._used = max(used, self._used * _FADE)
        if queued and (wait is None or not (wait.kind in _HELD_BACK or wait.source in _OWN)):
            return None
        return self._used * _ROOM

    def view(self) -> SharingView:
        """Return it for a screen."""
        return SharingView(
            share=self.held or 0.0, others=self.others, lost=self.lost, silent=self.silent
        )
