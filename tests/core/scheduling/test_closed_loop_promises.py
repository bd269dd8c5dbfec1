"""The pacing promises of docs/benchmarks.md, one scenario each, against the model of the server."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cache

import pytest

from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import FailureKind, LimitKind
from tests.support.closed_loop import Load, Loop, Outcome
from tests.support.server_model import RPM, ServerSpec

AMPLE = ServerSpec(rpm=4_000, itpm=10_000_000, otpm=2_000_000)
RPM_BOUND = Loop(
    spec=ServerSpec(rpm=1_000, itpm=10_000_000, otpm=2_000_000), load=Load(count=2_600)
)
ITPM_BOUND = Loop(
    spec=ServerSpec(rpm=4_000, itpm=500_000, otpm=2_000_000),
    load=Load(count=2_500, input_tokens=460, bias=0.6, spread=0.4),
)
OTPM_BOUND = Loop(
    spec=ServerSpec(rpm=4_000, itpm=10_000_000, otpm=100_000),
    load=Load(count=1_250, output_tokens=200),
)
MIXED = Loop(
    spec=ServerSpec(rpm=1_000, itpm=400_000, otpm=100_000),
    load=Load(count=2_500, input_tokens=380, output_tokens=97),
)
BOUND = pytest.mark.parametrize(
    "loop", [RPM_BOUND, ITPM_BOUND, OTPM_BOUND, MIXED], ids=["rpm", "itpm", "otpm", "mixed"]
)


def with_(loop: Loop, **changes: object) -> Loop:
    """Return the loop with other settings, or with a server that differs."""
    settings = {name: getattr(loop, name) for name in ("spec", "load", "seed", "guess", "share")}
    return Loop(**(settings | changes))


def server_with(loop: Loop, **changes: object) -> Loop:
    """Return the loop with a server that differs."""
    spec = {name: getattr(loop.spec, name) for name in ServerSpec.__slots__}
    return with_(loop, spec=ServerSpec(**(spec | changes)))


def guessed(loop: Loop, factor: float) -> Loop:
    """Return the loop with a first guess that is wrong by `factor`."""
    spec = loop.spec
    guess = Limits(
        requests=(spec.rpm or 0) * factor,
        input_tokens=(spec.itpm or 0) * factor,
        output_tokens=(spec.otpm or 0) * factor,
    )
    return with_(loop, guess=guess)


def most_in_a_minute(times: Sequence[float]) -> int:
    """Return the most that happened in any 60 seconds."""
    window: deque[float] = deque()
    most = 0
    for at in sorted(times):
        window.append(at)
        while window[0] <= at - 60:
            window.popleft()
        most = max(most, len(window))
    return most


def within(times: Sequence[float], start: float, end: float) -> int:
    """Return how often something happened between two times."""
    return sum(1 for at in times if start <= at < end)


@pytest.fixture(
    scope="module",
    params=[RPM_BOUND, ITPM_BOUND, OTPM_BOUND, MIXED],
    ids=["rpm", "itpm", "otpm", "mixed"],
)
def bound(request: pytest.FixtureRequest) -> Outcome:
    """Return what each of the loops comes to."""
    outcome: Outcome = request.param.run()
    return outcome


def test_limits_that_are_not_configured_are_used_to_97_percent(bound: Outcome) -> None:
    assert bound.used >= 0.97


def test_429s_stay_below_half_a_percent(bound: Outcome) -> None:
    assert bound.share_refused() <= 0.005


@BOUND
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_wrong_first_guess_costs_less_than_three_points(loop: Loop, factor: float) -> None:
    assert guessed(loop, factor).run().used >= 0.97 - 0.03


@pytest.mark.parametrize("sampled", ["start", "end"])
@pytest.mark.parametrize("generated", ["along", "end"])
def test_when_the_server_samples_and_charges_does_not_matter(sampled: str, generated: str) -> None:
    out = server_with(OTPM_BOUND, sampled=sampled, generated=generated).run()
    assert out.used >= 0.97


def test_a_bucket_of_one_second_is_used_as_well() -> None:
    loop = Loop(
        spec=ServerSpec(rpm=1_000, itpm=10**7, otpm=2 * 10**6, holds_s={RPM: 1.0}),
        load=Load(count=1_600),
    )
    assert loop.run().used >= 0.97


def test_a_limit_that_is_enforced_by_the_second_in_secret_costs_a_handful_of_429s() -> None:
    out = with_(server_with(RPM_BOUND, hidden_s=1.0), load=Load(count=1_600)).run()
    assert out.used >= 0.97
    assert len(out.refused_at) <= 10


@BOUND
def test_another_program_is_left_its_half(loop: Loop) -> None:
    out = server_with(loop, competitor=0.5).run()
    assert out.share_refused(after_s=30) <= 0.01


def test_another_program_that_comes_midway_is_noticed() -> None:
    out = server_with(ITPM_BOUND, competitor=0.5, competitor_from_s=20.0).run()
    assert out.share_refused(after_s=50) <= 0.01


def test_once_another_program_is_gone_its_half_is_used() -> None:
    out = server_with(RPM_BOUND, competitor=0.5, competitor_until_s=60.0).run()
    assert out.used >= 0.97


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_limit_that_changes_midway_is_followed(factor: float) -> None:
    out = server_with(RPM_BOUND, change_at_s=50.0, change_factor=factor).run()
    assert (out.used >= 0.97, len(out.refused_at) <= 5) == (True, True)


@cache
def outage(*, base_s: float = 0.5, kind: FailureKind = FailureKind.OVERLOADED) -> Outcome:
    """Return a run of 25 requests a second with an outage from 60 s to 120 s."""
    spec = ServerSpec(
        rpm=1_500,
        itpm=10**7,
        otpm=2 * 10**6,
        outage=(60, 120),
        outage_kind=kind,
        base_s=base_s,
    )
    return Loop(spec=spec, load=Load(count=4_000)).run()


@pytest.mark.parametrize("base_s", [0.1, 2.0])
def test_the_end_of_an_outage_is_noticed_within_five_seconds(base_s: float) -> None:
    assert within(outage(base_s=base_s).server.served_at, 120, 125) > 0


@pytest.mark.parametrize("base_s", [0.1, 2.0])
def test_after_an_outage_there_is_no_herd(base_s: float) -> None:
    out = outage(base_s=base_s)
    first = min(at for at in out.server.served_at if at >= 120)
    arrived = out.server.arrived_at
    assert max(within(arrived, 120, 121), within(arrived, first, first + 1)) <= 2 * 25


def test_during_an_outage_there_is_only_probing() -> None:
    assert within(outage().server.arrived_at, 65, 120) <= 100


@pytest.mark.parametrize("kind", [FailureKind.SERVER_ERROR, FailureKind.INVALID_RESPONSE])
def test_an_outage_of_whatever_kind_costs_no_request_its_result(kind: FailureKind) -> None:
    out = outage(kind=kind)
    assert out.answered["default", "Reply"] == 4_000
    assert within(out.server.arrived_at, 65, 120) <= 100
    assert within(out.server.served_at, 120, 125) > 0


@pytest.mark.parametrize("limit", [60, 1_000])
def test_a_ceiling_of_requests_is_never_exceeded(limit: int) -> None:
    loop = Loop(spec=AMPLE, load=Load(count=2 * limit), ceilings=Limits(requests=limit))
    assert most_in_a_minute(loop.run().server.arrived_at) <= limit


def test_a_ceiling_of_requests_is_used_to_the_edge() -> None:
    loop = Loop(spec=AMPLE, load=Load(count=2_000), ceilings=Limits(requests=1_000))
    assert loop.run().took_s <= 120 / 0.97


def test_a_share_of_the_limits_is_never_exceeded() -> None:
    out = with_(RPM_BOUND, share=0.8, load=Load(count=1_600)).run()
    assert most_in_a_minute(out.server.arrived_at) <= 800


@pytest.mark.parametrize("kind", [LimitKind.INPUT_TOKENS, LimitKind.OUTPUT_TOKENS])
def test_a_ceiling_of_tokens_is_kept_on_average(kind: LimitKind) -> None:
    limit = 50_000
    ceilings = Limits(**{kind.value: limit})
    out = Loop(spec=AMPLE, load=Load(count=600), ceilings=ceilings).run()
    assert out.spent[kind] <= limit * (out.took_s / 60)


def test_large_requests_get_their_turn_among_small_ones() -> None:
    loop = Loop(
        spec=ServerSpec(rpm=4_000, itpm=200_000),
        load=Load(count=400, input_tokens=400, big_every=40, big_tokens=40_000),
    )
    assert loop.run().used >= 0.97


def test_a_request_larger_than_the_bucket_goes_when_that_is_full() -> None:
    loop = Loop(
        spec=ServerSpec(rpm=4_000, itpm=30_000),
        load=Load(count=40, input_tokens=100, big_every=20, big_tokens=50_000),
    )
    assert len(loop.run().ended) == 40


def test_without_headers_the_limit_of_the_server_is_found() -> None:
    loop = Loop(
        spec=ServerSpec(rpm=1_000, itpm=None, otpm=None, headers=False), load=Load(count=2_500)
    )
    assert loop.run().used >= 0.95
