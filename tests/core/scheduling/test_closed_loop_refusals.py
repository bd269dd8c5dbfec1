"""Servers that report no limits and no retry-after: their rate is found from 429s alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from claude_batch.core.model.requests import FailureKind
from tests.support.closed_loop import Load, Loop, Outcome
from tests.support.server_model import ITPM, RPM, ServerSpec

LEAST_SHARE = 0.85
"""Of what the server allows in five minutes."""

SILENT: dict[str, Any] = {
    "itpm": None,
    "otpm": None,
    "headers": False,
    "retry_after": False,
    "base_s": 1.0,
    "per_output_token_s": 0.0,
    "travel_s": 0.03,
    "travel_jitter_s": 0.03,
}


def server(**settings: Any) -> ServerSpec:
    """Return a server that reports nothing."""
    return ServerSpec(**(SILENT | settings))


def halved_and_doubled(factor: float) -> dict[str, Any]:
    """Return a server whose limit changes midway."""
    return {"rpm": 600, "holds_s": {RPM: 5}, "change_at_s": 150.0, "change_factor": factor}


def random_429s(share: float) -> dict[str, Any]:
    """Return what makes a server refuse at random."""
    return {"faults": ((FailureKind.RATE_LIMITED, share),)}


SERVERS = {
    # name: server, requests it takes in five minutes (it may take a minute's worth at once)
    "60 a minute": (server(rpm=60, holds_s={RPM: 1}), 300),
    "60 a minute, a minute's burst": (server(rpm=60), 300),
    "600 a minute": (server(rpm=600, holds_s={RPM: 1}), 3_000),
    "window of 60": (server(rpm=60, window_s=60.0, window_at_s=23.7), 300),
    "window of 120": (server(rpm=120, window_s=60.0, window_at_s=41.3), 600),
    "window of 600": (server(rpm=600, window_s=60.0, window_at_s=12.1), 3_000),
    "window of a second": (server(rpm=300, window_s=1.0, window_at_s=0.4), 1_500),
    "10 in flight": (server(rpm=None, most_in_flight=10, base_s=2.0), 1_400),
    "random 5 %": (server(rpm=600, holds_s={RPM: 5}, **random_429s(0.05)), 3_000),
    "random 20 %": (server(rpm=600, holds_s={RPM: 5}, **random_429s(0.2)), 3_000),
    "halved": (server(**halved_and_doubled(0.5)), 2_250),
    "doubled": (server(**halved_and_doubled(2.0)), 4_500),
}
MOST_REFUSED = {"random 5 %": 0.10, "random 20 %": 0.28}
"""As a share of all attempts; 11 % elsewhere. Many of these 429s fall in the first minute."""

SHORT = ["60 a minute", "window of 120", "random 20 %"]


def run(name: str, seed: int) -> Outcome:
    """Send a server as many requests as it takes in five minutes."""
    spec, count = SERVERS[name]
    settings = {"patience_s": 36_000.0}
    loop = Loop(spec=spec, load=Load(count=count), seed=seed, concurrency=100, settings=settings)
    return loop.run()


def check(name: str, seed: int) -> None:
    """Check that a server was used, with few 429s."""
    outcome = run(name, seed)
    assert max(outcome.server.served_at) <= 300 / LEAST_SHARE
    assert outcome.share_refused() <= MOST_REFUSED.get(name, 0.11)


@pytest.mark.parametrize("name", SHORT)
def test_a_rate_is_found_from_429s_alone(name: str) -> None:
    check(name, 7)


@pytest.mark.long
@pytest.mark.parametrize("seed", [7, 8, 9])
@pytest.mark.parametrize("name", SERVERS)
def test_every_rate_is_found_from_429s_alone(name: str, seed: int) -> None:
    check(name, seed)


def test_the_combined_token_header_paces_where_it_is_all_there_is() -> None:
    spec = ServerSpec(rpm=6_000, itpm=60_000, otpm=None, combined=True)
    outcome = Loop(spec=spec, load=Load(count=400), concurrency=200).run()
    assert outcome.used >= LEAST_SHARE
    assert outcome.share_refused() <= 0.01


def test_retry_after_0_keeps_nothing_waiting() -> None:
    spec = server(rpm=600, holds_s={RPM: 1}, asks_s=0.0)
    settings = {"patience_s": 36_000.0}
    outcome = Loop(spec=spec, load=Load(count=3_000), concurrency=100, settings=settings).run()
    assert outcome.took_s <= 300 / LEAST_SHARE
    assert outcome.share_refused() <= 0.05


UNNAMED = ServerSpec(rpm=6_000, itpm=60_000, otpm=None, unnamed=(ITPM,))


@pytest.mark.parametrize("spec", [UNNAMED, replace(UNNAMED, retry_after=False)])
def test_a_limit_that_no_header_names_is_found(spec: ServerSpec) -> None:
    outcome = Loop(spec=spec, load=Load(count=1_000), concurrency=200).run()
    assert outcome.used >= LEAST_SHARE
    assert outcome.share_refused() <= 0.1
