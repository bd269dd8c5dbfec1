"""What a run waits for, in one sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_batch.core.model.requests import FailureKind, LimitKind
from claude_batch.core.model.snapshot import (
    AdjustedView,
    LimitSource,
    Phase,
    WaitKind,
    WaitReason,
)
from claude_batch.ui.waiting import activity_text, adjusted_texts, wait_text
from tests.ui import pictures

INPUT_LIMIT = WaitReason(
    kind=WaitKind.LIMIT, limit=LimitKind.INPUT_TOKENS, limit_per_minute=40_000.0
)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (INPUT_LIMIT, "waiting for input tokens (limit 40.0k/min)"),
        (
            replace(INPUT_LIMIT, source=LimitSource.ASSUMED),
            "waiting for input tokens (assumed limit 40.0k/min)",
        ),
        (
            replace(INPUT_LIMIT, source=LimitSource.CEILING),
            "waiting for input tokens (your --itpm 40.0k/min)",
        ),
        (
            replace(INPUT_LIMIT, source=LimitSource.SHARE),
            "waiting for input tokens (your --share 40.0k/min)",
        ),
        (
            WaitReason(kind=WaitKind.PACE, limit=LimitKind.REQUESTS, limit_per_minute=6_000.0),
            "spreading requests evenly (limit 6,000/min)",
        ),
        (
            WaitReason(kind=WaitKind.RATE_LIMITED, seconds=0.8, asked_s=1.0),
            "rate limited; the API asked for 1 s",
        ),
        (
            WaitReason(kind=WaitKind.RATE_LIMITED, seconds=12.2, asked_s=20.0),
            "rate limited; the API asked for 20 s, 13 s left",
        ),
        (WaitReason(kind=WaitKind.RATE_LIMITED, seconds=3.0), "rate limited; next try in 3 s"),
        (
            WaitReason(kind=WaitKind.OUTAGE, seconds=1.2, cause=FailureKind.OVERLOADED),
            "API overloaded; next try in 2 s",
        ),
        (
            WaitReason(kind=WaitKind.OUTAGE, cause=FailureKind.UNREACHABLE, in_flight=1),
            "API not reachable; waiting for the 1 request in flight",
        ),
        (
            WaitReason(kind=WaitKind.SILENCE, seconds=40.0, in_flight=12),
            "nothing heard for 40 s (12 in flight)",
        ),
        (WaitReason(kind=WaitKind.FINDING_PACE), "limits not known yet; finding the pace"),
        (
            replace(INPUT_LIMIT, lane="Haiku 5.5", fallback_in_s=24.0),
            "Haiku 5.5: waiting for input tokens (limit 40.0k/min); a fallback takes over in 24 s",
        ),
    ],
)
def test_a_reason_is_a_sentence(reason: WaitReason, text: str) -> None:
    assert wait_text(reason) == text


@pytest.mark.parametrize("kind", WaitKind)
def test_every_kind_has_a_sentence(kind: WaitKind) -> None:
    assert len(wait_text(WaitReason(kind=kind))) > 10


def test_a_run_that_stops_says_how_long_that_may_take() -> None:
    assert activity_text(pictures.STOPPING) == (
        "finishing 32 requests (8 s at most); Ctrl-C again to stop now"
    )


def test_a_run_that_waits_for_nothing_is_sending() -> None:
    assert activity_text(replace(pictures.CALM, wait=None)) == "sending"


def test_a_run_that_has_ended_waits_for_nothing() -> None:
    assert activity_text(replace(pictures.CALM, phase=Phase.STOPPED)) == ""


def test_a_paused_run_says_since_when_and_how_to_continue_it() -> None:
    paused = replace(pictures.CALM, paused_at=pictures.AT, results="my results.jsonl")
    assert activity_text(paused).endswith(
        "to continue: claude-batch adjust 'my results.jsonl' --continue"
    )
    assert activity_text(paused).startswith("paused at ")


def test_what_was_adjusted_has_its_value_and_time() -> None:
    adjusted = (
        AdjustedView(name="rpm", value=200.0, at=pictures.AT),
        AdjustedView(name="max_cost", value=None, at=pictures.AT),
    )
    rpm, cost = adjusted_texts(replace(pictures.CALM, adjusted=adjusted))
    assert rpm.startswith("rpm 200, adjusted ")
    assert cost.startswith("max-cost none, adjusted ")
