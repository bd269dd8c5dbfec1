"""Programs that share limits by a lease, against the model of the server, in virtual time.

Four and twelve programs, bound by each of the three limits, with a bucket of a minute, of five
seconds and of one; then what goes wrong.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import LimitKind
from tests.support.closed_loop import Load
from tests.support.forms import first
from tests.support.server_model import ITPM, OTPM, RPM, ServerSpec
from tests.support.shared_loop import Program, RedisSpec, SharedLoop, SharedOutcome

PER_S = 40
"""Requests that fit into a second, whichever limit binds."""

LOAD = Load(count=0, input_tokens=385, output_tokens=100)
BOUND = {
    RPM: ServerSpec(rpm=PER_S * 60, itpm=10**8, otpm=10**8),
    ITPM: ServerSpec(rpm=10**5, itpm=1_000_000, otpm=10**8),
    OTPM: ServerSpec(rpm=10**5, itpm=10**8, otpm=240_000),
}
COMMIT = [(4, OTPM, 5.0), (12, RPM, 1.0), (4, ITPM, 60.0)]
CASES = COMMIT + [
    case
    for holds_s in (60.0, 5.0, 1.0)
    for kind in BOUND
    for number in (4, 12)
    if (case := (number, kind, holds_s)) not in COMMIT
]
QUICK = RedisSpec()


def loop(
    number: int,
    kind: LimitKind = RPM,
    holds_s: float = 5.0,
    *,
    runs_s: float = 90.0,
    redis: RedisSpec | None = QUICK,
) -> SharedLoop:
    """Return equal programs that start one after the other within a second, with work for all."""
    load = replace(LOAD, count=int(PER_S * (holds_s + runs_s)) // number)
    return SharedLoop(
        spec=replace(BOUND[kind], holds_s={kind: holds_s}),
        programs=tuple(Program(load=load, starts_s=0.05 * each) for each in range(number)),
        redis=redis,
    )


@cache
def outcome(number: int, kind: LimitKind, holds_s: float) -> SharedOutcome:
    """Return what equal programs came to."""
    return loop(number, kind, holds_s).run()


@pytest.mark.parametrize(("number", "kind", "holds_s"), first(3, CASES))
def test_the_limits_are_used_by_all_together(number: int, kind: LimitKind, holds_s: float) -> None:
    assert outcome(number, kind, holds_s).used >= 0.97


@pytest.mark.parametrize(("number", "kind", "holds_s"), first(3, CASES))
def test_429s_stay_away(number: int, kind: LimitKind, holds_s: float) -> None:
    assert outcome(number, kind, holds_s).share_refused <= 0.005


@pytest.mark.parametrize(("number", "kind", "holds_s"), first(3, CASES))
def test_nobody_is_far_ahead_when_the_first_has_ended(
    number: int, kind: LimitKind, holds_s: float
) -> None:
    assert outcome(number, kind, holds_s).fairness >= {4: 0.9, 12: 0.7}[number]


def test_without_a_lease_they_are_not_fair() -> None:
    assert loop(4, redis=None).run().fairness < 0.5


@pytest.mark.parametrize("kind", list(BOUND))
@pytest.mark.parametrize("holds_s", first(1, [1.0, 60.0, 5.0]))
def test_a_stranger_is_left_its_quarter(kind: LimitKind, holds_s: float) -> None:
    shared = loop(4, kind, holds_s)
    shared.spec = replace(shared.spec, competitor=0.25, competitor_from_s=20.0)
    out = shared.run()
    assert (out.used >= 0.97, out.share_refused <= 0.005, out.fairness >= 0.9) == (True,) * 3


@pytest.mark.parametrize("holds_s", first(1, [5.0, 60.0, 1.0]))
@pytest.mark.parametrize(
    "held", [{"ceilings": Limits(requests=PER_S * 6)}, {"concurrency": 4}], ids=["rpm", "in flight"]
)
def test_what_one_program_cannot_use_flows_to_the_others(
    held: dict[str, Limits | int], holds_s: float
) -> None:
    shared = loop(4, RPM, holds_s)
    slow, *others = shared.programs
    total = 4 * slow.load.count
    shared.programs = (
        replace(slow, load=replace(slow.load, count=total // 20), **held),  # type: ignore[arg-type]
        *(replace(each, load=replace(each.load, count=total * 3 // 10)) for each in others),
    )
    assert shared.run().used >= 0.97


def test_shares_go_by_weight() -> None:
    shared = loop(3)
    light, *others = shared.programs
    shared.programs = (replace(light, share=0.25), *others)
    light_count, heavy_count, _ = shared.run().answered_by(60.0)
    assert 0.2 <= light_count / heavy_count <= 0.3


@pytest.mark.parametrize("holds_s", first(1, [5.0, 60.0, 1.0]))
@pytest.mark.parametrize(
    "redis",
    [RedisSpec(down=(30.0, 1e9)), RedisSpec(down=(30.0, 45.0)), RedisSpec(delay_s=0.5)],
    ids=["killed", "restarted", "slow"],
)
def test_trouble_with_redis_costs_next_to_nothing(redis: RedisSpec, holds_s: float) -> None:
    out = loop(4, RPM, holds_s, redis=redis).run()
    assert (out.used >= 0.97, out.share_refused <= 0.005, out.fairness >= 0.9) == (True,) * 3


@pytest.mark.parametrize("holds_s", first(1, [1.0, 60.0, 5.0]))
def test_newcomers_cause_no_burst(holds_s: float) -> None:
    shared = loop(4, RPM, holds_s)
    starts = (0.0, 20.0, 30.0, 45.0)
    shared.programs = tuple(
        replace(each, starts_s=at) for each, at in zip(shared.programs, starts, strict=True)
    )
    out = shared.run()
    assert (out.used >= 0.97, len(out.server.refused_at)) == (True, 0)


@pytest.mark.parametrize("holds_s", first(1, [5.0, 60.0, 1.0]))
def test_the_share_of_a_killed_program_goes_to_the_others(holds_s: float) -> None:
    shared = loop(4, RPM, holds_s)
    killed, *others = shared.programs
    shared.programs = (replace(killed, killed_s=30.0), *others)
    out = shared.run()
    before, *after = out.running
    served = len(before.answered_s) + sum(each.load.count for each in others)
    ideal_s = served / PER_S - holds_s
    assert max(each.ended_s or 0.0 for each in after) <= ideal_s + 5.0


@pytest.mark.long
@pytest.mark.parametrize("kind", list(BOUND))
@pytest.mark.parametrize("number", [30, 100])
def test_a_hundred_programs_share_a_minute(number: int, kind: LimitKind) -> None:
    out = loop(number, kind, 60.0).run()
    assert (out.used >= 0.96, out.share_refused <= 0.01) == (True, True)
