"""Keeps the shares of a run's lanes up to date while other programs use the same limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from claude_batch.core.scheduling.lane import Lane
from claude_batch.core.scheduling.scheduler import Scheduler
from claude_batch.core.scheduling.sharing import LaneSharing
from claude_batch.ports import Clock, LimitLease

RENEW_S = 1.0
"""How often a lane asks for its share, in seconds."""

SOON_S = 0.25
"""The same while it should have more than others have given up yet."""

_LOOK_S = 0.05
"""How often we look for lanes that are due or new, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingNotices:
    """What a user should hear.

    `lost`: the lease cannot be reached, once per run. `silent`: replies report no limits, once per
    lane, with its name.
    """

    lost: Callable[[], None]
    silent: Callable[[str], None]


def _ignore(_lane: str = "") -> None:
    """Say nothing."""


NO_NOTICES = SharingNotices(lost=_ignore, silent=_ignore)
"""For a run whose lanes share nothing."""


@dataclass(slots=True, kw_only=True)
class Sharing:
    """Renews the shares of a run's lanes; `on_change` is called when one may launch more.

    While the lease cannot be reached, the last shares stay. A lane that has none yet takes the
    smallest that another has, or all.
    """

    lease: LimitLease
    scheduler: Scheduler
    clock: Clock
    notices: SharingNotices
    on_change: Callable[[], None]
    _due: dict[int, float] = field(default_factory=dict)
    _warned: bool = False

    async def run(self) -> None:
        """Renew shares until canceled."""
        while True:
            now = self.clock.now()
            async with asyncio.TaskGroup() as group:
                for lane in self.scheduler.lanes:
                    sharing = lane.sharing
                    if sharing is not None and self._due.get(sharing.number, now) <= now:
                        group.create_task(self._renew(lane, sharing))
            await asyncio.sleep(_LOOK_S)

    async def _renew(self, lane: Lane, sharing: LaneSharing) -> None:
        began = self.clock.now()
        self._due[sharing.number] = began + RENEW_S
        if lane.reports_nothing:
            await self._stop_sharing(lane, sharing)
            return
        sharing.silent = False
        claim = self.scheduler.claim(lane, sharing, began)
        if claim is None:
            return  # its endpoints turned out to belong to another organization
        grant = await self.lease.renew(claim)
        now = self.clock.now()
        if grant is None:
            self._keep_share(lane, sharing, now)
            return
        if not grant.settled:
            self._due[sharing.number] = began + SOON_S
        self.scheduler.grant(lane, sharing, grant, now)
        self.on_change()

    def _keep_share(self, lane: Lane, sharing: LaneSharing, now: float) -> None:
        if not (self._warned or sharing.lost):  # the run before may have said it
            self._warned = True
            self.notices.lost()
        sharing.lost = True
        if sharing.held is None:
            held = [
                each.sharing.held
                for each in self.scheduler.lanes
                if each.sharing is not None and each.sharing.held
            ]
            sharing.held = min(held, default=1.0)
            lane.set_share(sharing.held, now)
            self.on_change()

    async def _stop_sharing(self, lane: Lane, sharing: LaneSharing) -> None:
        """Use a lane as if alone: nobody can say what its limits are."""
        if sharing.silent:
            return
        sharing.silent, sharing.held, sharing.others = True, None, ()
        lane.set_share(1.0, self.clock.now())
        self.notices.silent(lane.name)
        self.on_change()
        await self.lease.leave(sharing.number)
