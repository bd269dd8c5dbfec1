"""Minutes added up, what held them back, and what a higher tier would have brought."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.history.minutes import bound_of, bounds_of, merged
from claude_batch.core.history.run import Session
from claude_batch.core.history.tiers import tier_gains
from claude_batch.core.model.minutes import LaneFigures, LimitFigures, Minute, Traffic

START_RPM = LimitFigures(kind="requests", per_minute=1_000.0, least=0.0, source="api")
TRAFFIC = Traffic(
    lane="Haiku 5.5",
    endpoint="main",
    model="claude-haiku-5-5",
    attempts=1_000,
    succeeded=990,
    input_tokens=100_000,
    output_tokens=10_000,
    cost_usd=0.5,
)
HELD_BACK = Minute(
    at=60.0,
    seconds=60.0,
    attempts=1_000,
    succeeded=990,
    cost_usd=0.5,
    failures={"rate_limited": 10},
    limited={"requests": 10},
    latency={0: 990},
    traffic=(TRAFFIC,),
    lanes=(
        LaneFigures(
            lane="Haiku 5.5",
            in_flight=5,
            limits=(START_RPM,),
            waits={"limit:requests": 20.0, "pace:requests": 25.0, "outage": 10.0},
        ),
    ),
)
FREE = replace(HELD_BACK, lanes=(LaneFigures(lane="Haiku 5.5", waits={"outage": 20.0}),))


def test_minutes_add_up() -> None:
    total = merged([HELD_BACK, replace(HELD_BACK, at=120.0, cost_usd=None)])
    assert (total.at, total.seconds, total.attempts, total.cost_usd) == (120.0, 120.0, 2_000, 0.5)
    assert (total.limited, total.latency) == ({"requests": 20}, {0: 1_980})
    assert total.traffic == (
        replace(
            TRAFFIC,
            attempts=2_000,
            succeeded=1_980,
            input_tokens=200_000,
            output_tokens=20_000,
            cost_usd=1.0,
        ),
    )
    assert total.lanes[0].waits["pace:requests"] == 50.0


def test_the_least_headroom_of_all_minutes_is_kept() -> None:
    low = replace(START_RPM, least=-5.0)
    lane = replace(HELD_BACK.lanes[0], limits=(low,))
    total = merged([replace(HELD_BACK, lanes=(lane,)), HELD_BACK])
    assert total.lanes[0].limits == (low,)


def test_launches_spread_under_a_limit_are_held_back_by_it() -> None:
    bound = bound_of(HELD_BACK)
    assert bound is not None
    assert (bound.reason, bound.limit, bound.per_minute) == ("limit", "requests", 1_000.0)


def test_what_took_less_than_half_a_minute_did_not_hold_it_back() -> None:
    assert bound_of(FREE) is None


def test_bounds_are_added_up_in_seconds() -> None:
    bounds = bounds_of([HELD_BACK, HELD_BACK, FREE])
    assert bounds == {("limit", "requests", "api"): 120.0, ("", "", ""): 60.0}


def test_short_figures_become_whole_minutes() -> None:
    pieces = tuple(replace(FREE, at=at, seconds=5.0) for at in range(5, 130, 5))
    assert [minute.seconds for minute in Session(minutes=pieces).whole_minutes] == [60, 60, 5]


def test_a_gap_ends_a_minute() -> None:
    pieces = tuple(replace(FREE, at=at, seconds=5.0) for at in (5, 10, 600, 605))
    assert [minute.at for minute in Session(minutes=pieces).whole_minutes] == [10, 605]


def test_a_higher_tier_shortens_what_its_limit_held_back() -> None:
    build, scale = tier_gains([HELD_BACK, FREE], BUNDLED)
    assert (build.tier, scale.tier) == ("build", "scale")
    assert build.seconds == pytest.approx(60 + 60 / 5)
    assert scale.seconds == pytest.approx(60 + 60 / 10)


def test_another_limit_of_the_tier_may_bind_first() -> None:
    traffic = replace(TRAFFIC, output_tokens=400_000)
    build, *_ = tier_gains([replace(HELD_BACK, traffic=(traffic,))], BUNDLED)
    assert build.seconds == pytest.approx(60 / 2.5)


@pytest.mark.parametrize("source", ["ceiling", "share"])
def test_no_tier_helps_against_a_limit_of_ones_own(source: str) -> None:
    own = replace(START_RPM, source=source)
    lane = replace(HELD_BACK.lanes[0], limits=(own,))
    assert tier_gains([replace(HELD_BACK, lanes=(lane,))], BUNDLED) == ()


def test_an_unknown_model_has_no_tiers() -> None:
    traffic = replace(TRAFFIC, model="qwen3")
    assert tier_gains([replace(HELD_BACK, traffic=(traffic,))], BUNDLED) == ()
