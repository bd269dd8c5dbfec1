"""A live run that shares its limits by a lease: when it asks, and what it does without answers."""

from __future__ import annotations

from dataclasses import replace

from claude_batch.core.model.requests import (
    LimitKind,
    LimitReading,
    Reply,
    Request,
    ResponseHeaders,
)
from claude_batch.core.model.sharing import Grant, LimitFact
from claude_batch.core.model.snapshot import WaitKind
from tests.support.fakes import FakeLease, ScriptedTransport, a_reply
from tests.support.live_rig import Rig, some

RPM = 600
LIMITS = LimitReading(
    kind=LimitKind.REQUESTS, limit_per_minute=RPM, remaining=RPM // 60, full_at=None
)
FACTS = (LimitFact(LimitKind.REQUESTS, float(RPM), RPM / 60),)


def reported(_request: Request, _try: int) -> Reply:
    """Return a reply that reports ten requests a second, by an organization."""
    headers = ResponseHeaders(limits=(LIMITS,), organization_id="org-1")
    return replace(a_reply(), headers=headers)


def grant(share: float) -> Grant:
    """Return a share, with what others know of the limits."""
    return Grant(share=share, settled=True, facts=FACTS, others=())


def rig(lease: FakeLease, count: int = 100, *, silent: bool = False) -> Rig:
    """Return a run of some requests to a server that reports its limits, unless `silent`."""
    transport = ScriptedTransport() if silent else ScriptedTransport(reported)
    return Rig(requests=some(count), transport=transport, lease=lease)


def test_it_launches_at_its_share_of_the_limit() -> None:
    run = rig(FakeLease(lambda _: grant(0.25)))
    run.run()
    assert (
        25.0 <= run.took_s <= 44.0
    )  # 100 requests at a quarter of ten a second, and a little of the bucket


def test_it_asks_once_a_second() -> None:
    lease = FakeLease(lambda _: grant(0.25))
    run = rig(lease)
    run.run()
    assert abs(len(lease.claims) - run.took_s) <= 3


def test_nothing_is_sent_while_others_hold_everything() -> None:
    run = rig(FakeLease(lambda number: grant(0.0 if number < 4 else 1.0)), 1)
    run.run()
    waits = {each.wait.kind for each in run.snapshots if each.wait}
    assert (run.took_s >= 3.0, WaitKind.SHARE in waits) == (True, True)


def test_a_lease_that_is_lost_leaves_the_last_share_and_warns_once() -> None:
    run = rig(FakeLease(lambda number: grant(0.25) if number < 3 else None))
    run.run()
    assert (25.0 <= run.took_s <= 44.0, run.notices) == (True, ["lost"])


def test_a_lease_that_is_lost_before_the_first_share_does_not_stop_the_run() -> None:
    run = rig(FakeLease(lambda _: None), 10)
    assert (run.run(), len(run.ids)) == (None, 10)


def test_where_replies_report_no_limits_nothing_is_shared() -> None:
    lease = FakeLease(lambda _: replace(grant(0.1), facts=()))
    run = rig(lease, 2_000, silent=True)
    run.run()
    assert (run.notices, lease.left) == (["claude-haiku-5-5"], [0])


def test_the_key_names_the_organization_once_it_is_known() -> None:
    lease = FakeLease(lambda _: grant(0.25))
    rig(lease).run()
    assert (lease.claims[0].key.organization, lease.claims[-1].key.organization) == (None, "org-1")


def test_limits_that_replies_have_reported_reach_the_others() -> None:
    lease = FakeLease(lambda _: replace(grant(0.25), facts=()))
    rig(lease).run()
    assert [fact.limit_per_minute for fact in lease.claims[-1].facts] == [RPM]


def test_at_its_end_it_claims_nothing_more() -> None:
    lease = FakeLease(lambda _: grant(0.25))
    run = rig(lease, 3)
    run.transport.latency_s = 5.0
    run.run()
    assert lease.claims[-1].demand == 0.0
