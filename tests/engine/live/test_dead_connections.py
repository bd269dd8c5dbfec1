"""Connections that the network forgets in the middle of a run: nothing is lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass

from claude_batch.core.model.events import Spent
from claude_batch.core.model.requests import Failure, Reply, Request
from claude_batch.core.model.snapshot import WaitKind
from tests.support.fakes import ScriptedTransport, a_reply
from tests.support.live_rig import Rig, some

AWAY_AT_S, BACK_AT_S, LATENCY_S = 10.0, 18.0, 1.5


@dataclass
class Forgetful(ScriptedTransport):
    """Answers after `LATENCY_S`; never what is in flight while the network is away."""

    canceled: int = 0

    async def send(self, request: Request, *, timeout_s: float) -> Reply | Failure:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + LATENCY_S
        self.tries[request.custom_id] += 1
        dead = ends_at >= AWAY_AT_S and loop.time() < BACK_AT_S
        try:
            await asyncio.sleep(timeout_s if dead else LATENCY_S)
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        return a_reply()


def test_what_was_in_flight_is_sent_again_and_each_line_is_written_once() -> None:
    transport = Forgetful()
    rig = Rig(some(600), transport=transport, concurrency=20)
    assert rig.run() is None
    assert Counter(rig.ids) == Counter(request.custom_id for request in some(600))
    assert transport.canceled >= 20
    spent = [event for event in rig.log.events if isinstance(event, Spent)]
    assert sum(event.expense.unreported for event in spent) == 600 + transport.canceled
    assert rig.took_s < 600 / 20 * LATENCY_S + 30.0


def test_the_screen_says_since_when_nothing_was_heard_and_that_it_is_tried_again() -> None:
    rig = Rig(some(600), transport=Forgetful(), concurrency=20)
    rig.run()
    waits = [each.wait for each in rig.snapshots if each.wait and each.wait.probing]
    assert waits
    assert {wait.kind for wait in waits} == {WaitKind.SILENCE}
    assert max(wait.seconds or 0.0 for wait in waits) > BACK_AT_S - AWAY_AT_S - LATENCY_S
