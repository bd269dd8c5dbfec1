"""A bound on the cost that cannot be kept is refused; a status tells its times in one form."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.cli.conftest import claude_batch

PROMPT = '{"prompt": "hi"}\n'


@pytest.fixture(autouse=True)
def prompts(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay a file of one prompt into the folder, for the sandbox."""
    monkeypatch.setenv("CLAUDE_BATCH_SANDBOX", "1")
    path = home / "p.jsonl"
    path.write_text(PROMPT)
    return path


def test_a_bound_on_the_cost_is_refused_for_a_model_without_a_price_wherever_it_stands(
    prompts: Path,
) -> None:
    late = '{"prompt": "hi", "model": "qwen3"}\n'
    prompts.write_text(PROMPT * 50_000 + late)
    done = claude_batch("run", "p.jsonl", "--max-cost", "1", "--allow-unknown-model")
    assert done.exit_code == 2
    assert "the price of qwen3 is not known" in done.err


def test_the_times_of_a_status_are_written_alike() -> None:
    claude_batch("run", "p.jsonl", "--no-stdout")
    status = claude_batch("status", "p.sandbox.results.jsonl", "--json").json()
    times = [status["started_at"], status["last_activity_at"]]
    assert all(datetime.fromisoformat(time).tzinfo is UTC for time in times)


def test_a_run_that_stopped_says_when_why_and_how_to_resume_it(prompts: Path) -> None:
    prompts.write_text(PROMPT * 200)
    claude_batch("run", "p.jsonl", "--no-stdout", "--max-cost", "0.001")
    text = claude_batch("status", "p.sandbox.results.jsonl").out
    assert "by --max-cost (0.0010 USD) at " in text
    assert "next: claude-batch resume p.sandbox.results.jsonl --max-cost 0.0" in text
    status = claude_batch("status", "p.sandbox.results.jsonl", "--json").json()
    assert (status["state"], status["stop_kind"]) == ("stopped", "cost")
    assert f"next: {status['next_command']}\n" in text
