"""`status` at 3 a.m.: why a run stopped, when, how far it is, and the command that resumes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from claude_batch.commands.run.messages import resume_command, stop_text
from claude_batch.core.scheduling.decisions import Stop, StopKind
from claude_batch.storage.run.journal import Closed

WHEN, AT = "03:04", "at 8,412 of 20,000"


@pytest.mark.parametrize(
    ("kind", "message", "text"),
    [
        (
            StopKind.COST,
            "24.9 of 25 USD spent",
            "stopped 03:04 by --max-cost (25.00 USD) at 8,412 of 20,000: 24.9 of 25 USD spent",
        ),
        (StopKind.INTERRUPTED, "interrupted", "interrupted 03:04 at 8,412 of 20,000"),
        (
            StopKind.ENDPOINT,
            "no key",
            "stopped 03:04 since the endpoint refuses the credential at 8,412 of 20,000: no key",
        ),
        (
            StopKind.PATIENCE,
            "no success for 1 h",
            "stopped 03:04 by --patience at 8,412 of 20,000: no success for 1 h",
        ),
    ],
)
def test_a_stop_has_its_time_its_cause_and_how_far_it_is(
    kind: StopKind, message: str, text: str
) -> None:
    assert stop_text(Stop(kind=kind, message=message), 25.0, when=WHEN, at=AT) == text


@pytest.mark.parametrize("kind", StopKind)
def test_every_stop_has_words(kind: StopKind) -> None:
    assert stop_text(Stop(kind=kind, message="why"), None)


def test_a_run_that_met_its_bound_resumes_with_a_higher_one() -> None:
    stopped = Closed(
        at="t",
        state="stopped",
        exit_code=6,
        why="",
        kind="cost",
        max_cost_usd=25.0,
        enough_usd=41.0,
    )
    results = Path("/data/my r.jsonl")
    command = "claude-batch resume '/data/my r.jsonl' --max-cost"
    assert resume_command(results, stopped) == f"{command} 41"
    assert resume_command(results, replace(stopped, enough_usd=None)) == f"{command} 50"


def test_any_other_run_resumes_as_it_is() -> None:
    assert resume_command(Path("/d/r.jsonl"), None) == "claude-batch resume /d/r.jsonl"
