"""What a lane claims of limits that other programs use, too."""

from __future__ import annotations

import pytest

from claude_batch.core.model.requests import LimitKind
from claude_batch.core.model.sharing import Grant, LaneKey, LimitFact
from claude_batch.core.model.snapshot import LimitSource, WaitKind, WaitReason
from claude_batch.core.scheduling.decisions import Send, Sleep
from claude_batch.core.scheduling.pool import EndpointSpec, lane_key
from claude_batch.core.scheduling.scheduler import Scheduler
from claude_batch.core.scheduling.sharing import LaneSharing
from tests.support.fakes import a_request, scheduler_settings


def demand(wait: WaitReason | None, *, used: float = 0.1, queued: int = 5) -> float | None:
    return LaneSharing(number=0).demand(used, wait, queued=queued, more_to_come=False)


@pytest.mark.parametrize(
    "kind", [WaitKind.LIMIT, WaitKind.PACE, WaitKind.RATE_LIMITED, WaitKind.FIRST_REPLY]
)
def test_what_waits_for_the_limits_claims_all_it_can_get(kind: WaitKind) -> None:
    assert demand(WaitReason(kind=kind)) is None


def test_what_is_about_to_be_sent_does_too() -> None:
    assert demand(None) is None


@pytest.mark.parametrize(
    "wait",
    [
        WaitReason(kind=WaitKind.CONCURRENCY),
        WaitReason(kind=WaitKind.LIMIT, source=LimitSource.CEILING),
        WaitReason(kind=WaitKind.PACE, source=LimitSource.SHARE),
    ],
)
def test_what_its_user_holds_back_claims_a_little_more_than_it_uses(wait: WaitReason) -> None:
    assert demand(wait) == pytest.approx(0.115)


def test_a_run_that_has_sent_everything_claims_nothing() -> None:
    assert demand(WaitReason(kind=WaitKind.LAST_REPLIES), queued=0) == 0.0


def test_a_short_gap_does_not_end_a_claim() -> None:
    sharing, wait = LaneSharing(number=0), WaitReason(kind=WaitKind.CONCURRENCY)
    claims = [sharing.demand(used, wait, queued=1, more_to_come=False) for used in (0.2, 0.0, 0.0)]
    assert claims == pytest.approx([0.23, 0.184, 0.1472])


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        (
            EndpointSpec(name="a", host="anthropic h"),
            LaneKey(place="host anthropic h", model_class="m", organization="o"),
        ),
        (
            EndpointSpec(name="a", host="h", limit_group="mine"),
            LaneKey(place="group mine", model_class="m"),
        ),
    ],
)
def test_a_lane_is_known_by_its_limit_group_else_its_organization(
    spec: EndpointSpec, key: LaneKey
) -> None:
    assert lane_key(spec, "m", "o") == key


def a_shared_scheduler() -> Scheduler:
    scheduler = Scheduler(scheduler_settings(shares_limits=True), now=0.0)
    for line in range(1, 4):
        scheduler.add(a_request(line))
    return scheduler


def test_nothing_is_launched_before_a_share_is_granted() -> None:
    assert isinstance(a_shared_scheduler().next(0.0), Sleep)


def test_a_newcomer_launches_evenly_at_its_share_of_what_others_have_learned() -> None:
    scheduler = a_shared_scheduler()
    scheduler.next(0.0)
    (lane,) = scheduler.lanes
    assert lane.sharing is not None
    facts = (LimitFact(LimitKind.REQUESTS, 600.0, 600.0),)
    grant = Grant(share=0.25, settled=True, facts=facts, others=())
    scheduler.grant(lane, lane.sharing, grant, 0.0)
    assert isinstance(scheduler.next(0.0), Send)
    wait = scheduler.next(0.0)
    assert isinstance(wait, Sleep)
    assert 0.3 <= wait.until <= 0.4  # 2.5 a second, less what late launches may make up for


def test_a_larger_share_shortens_a_wait_that_has_begun() -> None:
    scheduler = a_shared_scheduler()
    scheduler.next(0.0)
    (lane,) = scheduler.lanes
    assert lane.sharing is not None
    facts = (LimitFact(LimitKind.REQUESTS, 600.0, 600.0),)
    small = Grant(share=0.01, settled=False, facts=facts, others=())
    scheduler.grant(lane, lane.sharing, small, 0.0)
    scheduler.next(0.0)
    scheduler.grant(lane, lane.sharing, Grant(share=1.0, settled=True, facts=(), others=()), 0.0)
    wait = scheduler.next(0.0)
    assert isinstance(wait, Sleep)
    assert wait.until <= 0.1


def test_a_lane_that_is_gone_claims_nothing() -> None:
    scheduler, other = a_shared_scheduler(), a_shared_scheduler()
    other.next(0.0)
    (lane,) = other.lanes
    assert lane.sharing is not None
    assert scheduler.claim(lane, lane.sharing, 0.0) is None
