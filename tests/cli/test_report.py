"""`report`, `status --history` and what `estimate` learns from an earlier run, as commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import claude_batch
from tests.support.past_run import PastRun

RESULTS = "tickets.results.jsonl"


@pytest.fixture(autouse=True)
def run(home: Path) -> PastRun:
    run = PastRun(folder=home, total=2_000)
    run.write()
    return run


def test_a_report_says_where_it_is(home: Path) -> None:
    done = claude_batch("report", RESULTS, "-o", "report.html")
    assert (done.exit_code, done.out) == (0, "")
    assert "the report is in report.html" in done.err
    assert (home / "report.html").read_text().startswith("<!doctype html>")


def test_wrong_input_is_refused_with_a_next_step(home: Path) -> None:
    assert claude_batch("report", "nothing.jsonl").exit_code == 2
    assert claude_batch("report", RESULTS, "-o", RESULTS).exit_code == 2
    assert claude_batch("report", RESULTS, "-o", "no/such/folder.html").exit_code in {2, 5}
    (home / "mine.html").write_text("mine")
    refused = claude_batch("report", RESULTS, "-o", "mine.html")
    assert refused.exit_code == 2
    assert "name another file" in refused.err
    assert (home / "mine.html").read_text() == "mine"


def test_history_as_json_adds_up_to_the_run() -> None:
    done = claude_batch("status", RESULTS, "--history", "--json")
    minutes = done.json()
    assert sum(minute["succeeded"] + minute["failed"] for minute in minutes) == 2_000
    assert {minute["limited_by"] for minute in minutes} == {"input_tokens"}
    assert minutes[0]["limits"][0]["per_minute"] == 5_000
    assert minutes[0]["at"].endswith("Z")


def test_history_is_that_of_the_run_active_last() -> None:
    assert "ITPM 5.00M" in claude_batch("status", "--history").out


def test_history_without_a_run_is_refused(home: Path) -> None:
    for path in home.glob("*.journal"):
        path.unlink()
    assert claude_batch("status", "--history").exit_code == 2


def test_an_estimate_says_what_limited_the_last_run_of_the_file() -> None:
    done = claude_batch("estimate", "tickets.jsonl", "--json")
    notes = " ".join(done.json()["notes"])
    assert "Last run of this file: Input tokens limited this run" in notes
    assert "with the limits of the Scale tier about" in notes
