"""The scheduler against the sandbox's pure API, through the real reading of its headers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import orjson
import pytest

from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.requests import Request
from claude_batch.sandbox.scenario import (
    Competitor,
    Headers,
    Latency,
    Outage,
    Output,
    Ramp,
    Scenario,
)
from claude_batch.sandbox.scenario import Limits as Allowed
from tests.support.closed_loop import Load, Loop, Outcome
from tests.support.forms import first
from tests.support.sandbox_model import SandboxModel
from tests.support.server_model import ITPM, OTPM, RPM, ServerSpec

HAIKU = "claude-haiku-5-5"
QUICK = Latency(base_s=0.3, per_output_token_s=0.01)
AMPLE = Allowed(rpm=4_000, itpm=10_000_000, otpm=2_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A sandbox, and what is sent to it."""

    allowed: Allowed
    count: int
    words: int = 50
    base: Scenario = field(default_factory=Scenario)
    guess: Limits = NO_LIMITS
    latency: Latency = QUICK

    def run(self, *, seed: int = 7, bias: float = 1.0) -> Outcome:
        """Work it off."""
        scenario = replace(
            self.base, seed=seed, limits=self.allowed, latency=self.latency, output=Output()
        )
        load = Load(
            count=self.count,
            input_tokens=self.words + 10,
            bias=bias,
            model=HAIKU,
            max_tokens=300,
        )
        server = SandboxModel(scenario, lambda _: self.words)
        loop = Loop(spec=self._spec(), load=load, seed=seed, guess=self.guess, server=server)
        return loop.run()

    def _spec(self) -> ServerSpec:
        """Return the model that the ideal is computed from."""
        allowed, competitor = self.allowed, self.base.competitor
        return ServerSpec(
            rpm=allowed.rpm,
            itpm=allowed.itpm,
            otpm=allowed.otpm,
            holds_s={
                RPM: allowed.rpm_burst_s,
                ITPM: allowed.itpm_burst_s,
                OTPM: allowed.otpm_burst_s,
            },
            fill=allowed.initial_fill,
            base_s=self.latency.base_s,
            per_output_token_s=self.latency.per_output_token_s,
            competitor=competitor.share,
            competitor_from_s=competitor.from_s,
            competitor_until_s=competitor.until_s,
        )


BOUND = {
    "rpm": Setting(allowed=replace(AMPLE, rpm=600), count=1_500),
    "itpm": Setting(allowed=replace(AMPLE, itpm=200_000), count=1_800, words=180),
    "otpm": Setting(allowed=replace(AMPLE, otpm=60_000), count=1_600),
}
EACH = pytest.mark.parametrize("setting", BOUND.values(), ids=BOUND)


@EACH
def test_the_limits_are_used_to_97_percent(setting: Setting) -> None:
    assert setting.run().used >= 0.97


@pytest.mark.parametrize(
    ("binds", "seed"), first(3, ((binds, seed) for seed in range(4) for binds in BOUND))
)
def test_whatever_the_estimates_are_429s_stay_below_half_a_percent(binds: str, seed: int) -> None:
    out = BOUND[binds].run(seed=seed, bias=(0.6, 0.9, 1.1, 1.4)[seed])
    assert out.share_refused() <= 0.005


@pytest.mark.parametrize(("factor", "binds"), first(3, product((2.0, 0.5), BOUND)))
def test_a_wrong_first_guess_costs_less_than_three_points(binds: str, factor: float) -> None:
    setting = BOUND[binds]
    guess = Limits(
        requests=setting.allowed.rpm * factor,
        input_tokens=setting.allowed.itpm * factor,
        output_tokens=setting.allowed.otpm * factor,
    )
    assert replace(setting, guess=guess).run().used >= 0.94


@EACH
def test_another_program_is_left_its_half(setting: Setting) -> None:
    base = Scenario(competitor=Competitor(share=0.5))
    out = replace(setting, base=base).run()
    assert out.share_refused(after_s=30) <= 0.01
    assert out.used >= 0.97


@EACH
def test_levels_sampled_as_requests_come_in_do_as_well(setting: Setting) -> None:
    base = Scenario(headers=Headers(sampled_at="start"))
    assert replace(setting, base=base).run().used >= 0.97


def test_limits_that_are_all_enforced_by_the_second_are_used() -> None:
    allowed = Allowed(
        rpm=1_000, itpm=300_000, otpm=60_000, rpm_burst_s=1, itpm_burst_s=1, otpm_burst_s=1
    )
    assert Setting(allowed=allowed, count=1_000).run().used >= 0.97


def test_an_outage_loses_nothing() -> None:
    base = Scenario(outage=(Outage(from_s=20, until_s=80),))
    out = replace(BOUND["rpm"], base=base).run()
    assert sorted(out.ended) == list(range(1, 1_501))
    assert any(80 <= at < 85 for at in out.server.served_at)


def test_an_acceleration_limit_is_respected() -> None:
    base = Scenario(ramp=Ramp(start_rpm=200, doubles_every_s=30))
    out = Setting(allowed=AMPLE, count=2_000, base=base).run()
    assert out.share_refused() <= 0.05
    assert out.took_s <= 240


SYSTEM = "You sort letters into five drawers, and you never open one that is sealed. " * 280


def a_letter(request: Request) -> Request:
    """Return a request that shares 5,000 tokens with all others."""
    block = {"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}
    body = {
        "model": request.model,
        "max_tokens": request.max_tokens,
        "system": [block],
        "messages": [{"role": "user", "content": f"Letter {request.line}: to whom?"}],
    }
    tokens = 5_000
    return replace(
        request, body=orjson.dumps(body), input_tokens=tokens + 15, prefix=1, cached_tokens=tokens
    )


def test_of_2_000_with_one_prefix_one_writes_the_cache_and_all_others_read_it() -> None:
    allowed = replace(AMPLE, itpm=100_000)
    server = SandboxModel(Scenario(limits=allowed, latency=QUICK, output=Output()), lambda _: 0)
    load = Load(count=2_000, model=HAIKU, max_tokens=300)
    out = Loop(spec=ServerSpec(), load=load, server=server, changed=a_letter).run()
    assert (sum(map(bool, out.cache_written)), sum(map(bool, out.cache_read))) == (1, 1_999)
    # the 8 million tokens of whole prompts would take 80 minutes at 100,000 a minute
    assert out.took_s < 60
