"""Tables that commands print, and the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from rich.console import Console, RenderableType
from syrupy.assertion import SnapshotAssertion

from claude_batch.core.model.requests import LimitKind
from claude_batch.core.model.snapshot import Phase
from claude_batch.ui.screen.screen import RunSummary
from claude_batch.ui.screen.summary import summary_picture
from claude_batch.ui.tables.status import StatusRow, status_table
from claude_batch.ui.tables.tables import LimitRow, check_table, limits_table, print_table
from tests.ui import pictures

SOME_FAILED = RunSummary(
    message="finished; 10 did not succeed",
    resume_command="claude-batch resume --retry-errored prompts.results.jsonl",
    exit_code=3,
)
ROWS = (
    StatusRow(
        results="data/prompts.results.jsonl",
        state="stopped",
        done=1_200,
        failed=3,
        total=10_000,
        last_activity_at=pictures.AT - 300,
        cost_usd=1.25,
        sentence="stopped 03:04 by --max-cost (25.00 USD) at 1,200 of 10,000",
        next_command="claude-batch resume data/prompts.results.jsonl --max-cost 50",
    ),
    StatusRow(
        results="翻訳.sandbox.results.jsonl",
        state="finished",
        done=60,
        failed=0,
        total=60,
        last_activity_at=None,
        sandbox=True,
    ),
)
LIMITS = tuple(
    LimitRow(
        endpoint="default",
        lane=lane,
        limit=kind,
        per_minute=limit,
        remaining=None if limit is None else limit * 0.4,
        full_in_s=None if limit is None else 36.0,
    )
    for lane, limit in (("Haiku 5.5", 1_000.0), ("Opus 5.5", None))
    for kind in LimitKind
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a check might have found."""

    requests: int = 1_234
    invalid: int = 0
    models: Mapping[str, int] = field(
        default_factory=lambda: {"claude-haiku-5-5": 1_200, "claude-opus-5-5": 34}
    )
    size: int = 12_345_678
    warnings: Sequence[str] = ()


def printed(renderable: RenderableType, width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable, crop=False)
    return capture.get()


@pytest.mark.parametrize("width", [60, 100, 160])
def test_a_summary_looks_like_this(width: int, snapshot: SnapshotAssertion) -> None:
    finished = replace(pictures.FINISHED, failures=pictures.FAILURES)
    assert printed(summary_picture(finished, SOME_FAILED), width) == snapshot


def test_a_summary_of_a_run_folder_names_failures_by_kind(snapshot: SnapshotAssertion) -> None:
    folder = replace(pictures.FOLDER, at_work=(), left_out=20)
    ended = replace(pictures.WHOLE, phase=Phase.FINISHED, folder=folder, eta_s=None)
    assert printed(summary_picture(ended, SOME_FAILED), 100) == snapshot


def test_a_summary_says_how_to_resume() -> None:
    text = printed(summary_picture(pictures.FINISHED, SOME_FAILED), 60)
    assert f"continue  {SOME_FAILED.resume_command}\n" in text


def test_a_summary_of_a_sandbox_run_says_so() -> None:
    text = printed(summary_picture(pictures.STORM, SOME_FAILED), 60)
    assert "SANDBOX" in text
    assert "would cost" in text


def test_a_summary_of_nothing_is_the_ending() -> None:
    assert printed(summary_picture(None, replace(SOME_FAILED, resume_command=None)), 60) == (
        "finished; 10 did not succeed\n"
    )


@pytest.mark.parametrize("width", [60, 100, 160])
def test_runs_look_like_this(width: int, snapshot: SnapshotAssertion) -> None:
    assert printed(status_table(ROWS, pictures.AT), width) == snapshot


@pytest.mark.parametrize("width", [30, 60, 100])
def test_the_name_of_a_run_is_never_cut(width: int) -> None:
    path = "runs/" + "x" * 200
    text = printed(status_table([replace(ROWS[0], results=path)], pictures.AT), width)
    assert path in text.replace("\n", "")


def test_a_check_looks_like_this(snapshot: SnapshotAssertion) -> None:
    found = Found(invalid=1, warnings=("line 3: temprature: temperature?",))
    note = "Using claude-haiku-5-5, max_tokens 1024, for 2 lines that set neither"
    assert printed(check_table("prompts.jsonl", found, (note,)), 100) == snapshot


def test_a_check_that_found_nothing_bad_says_so() -> None:
    assert "1,234 requests, no bad line" in printed(check_table("prompts.jsonl", Found()), 100)


def test_limits_look_like_this(snapshot: SnapshotAssertion) -> None:
    assert printed(limits_table(LIMITS), 100) == snapshot


@pytest.mark.parametrize("to_stdout", [True, False])
def test_a_pipe_gets_a_table_without_colour(
    capsys: pytest.CaptureFixture[str], *, to_stdout: bool
) -> None:
    print_table(status_table(ROWS, pictures.AT), to_stdout=to_stdout)
    captured = capsys.readouterr()
    text = captured.out if to_stdout else captured.err
    assert "1,200 of 10,000 (12 %)" in text
    assert "\x1b" not in text


def test_a_pipe_gets_whole_paths(capsys: pytest.CaptureFixture[str]) -> None:
    path = "runs/" + "x" * 200
    print_table(status_table([replace(ROWS[0], results=path)], pictures.AT), to_stdout=True)
    assert f"{path}  stopped" in capsys.readouterr().out
