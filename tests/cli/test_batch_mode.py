"""`--mode`, `--deadline`, `--detach`: which way a run goes, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_batch.storage.batch_journal import read_batches
from tests.cli.conftest import Done, Serve, claude_batch

QUICK = "[batches]\nduration_s = 0.2\nspread = 0\n"
SLOW = "[batches]\nduration_s = 600\n"


@pytest.fixture(autouse=True)
def prompts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a few prompts, and let batches be asked after soon."""
    lines = [{"custom_id": f"p{n}", "prompt": f"Say {n}."} for n in range(4)]
    (home / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv("CLAUDE_BATCH_FIRST_POLL", "0.1s")


def run(*arguments: str) -> Done:
    return claude_batch("run", "p.jsonl", "--no-stdout", "--progress", "plain", *arguments)


def test_auto_takes_batches_where_nothing_hurries(serve: Serve) -> None:
    with serve(QUICK):
        done = run("--mode", "auto")
    assert "--mode auto: batch: no deadline is set" in done.err
    assert done.exit_code == 0


def test_auto_goes_live_when_the_deadline_is_near(serve: Serve) -> None:
    with serve(QUICK):
        done = run("--mode", "auto", "--deadline", "10m")
    assert "--mode auto: live: the deadline is in 10 min" in done.err
    assert done.exit_code == 0


def test_a_deadline_is_kept_to_by_the_next_process(serve: Serve, home: Path) -> None:
    with serve(SLOW):
        run("--mode", "auto", "--deadline", "3h", "--detach")
        before = read_batches(home / "p.results.jsonl").mode
        again = run("--detach")
    assert before is not None
    assert read_batches(home / "p.results.jsonl").mode == before
    assert "goes live, for the deadline" in again.err


def test_without_a_mode_a_run_goes_on_as_it_began(serve: Serve) -> None:
    with serve(SLOW):
        run("--mode", "batch", "--detach")
        again = run("--detach")
    assert "going on in batch mode: 1 batch is under way" in again.err
    assert again.exit_code == 6


def test_the_settings_choose_for_new_runs_alone(serve: Serve, home: Path) -> None:
    with serve(SLOW):
        run("--mode", "batch", "--detach")
        (home / "claude-batch.toml").write_text('[defaults]\nmode = "live"\n')
        again = run("--detach")
    assert again.exit_code == 6


def test_batches_at_an_endpoint_that_is_gone_are_not_sent_again(serve: Serve, home: Path) -> None:
    with serve(SLOW):
        run("--mode", "batch", "--detach")
        (home / "claude-batch.toml").write_text(
            '[[endpoint]]\nname = "local"\nprovider = "openai"\nbase_url = "http://127.0.0.1:1"\n'
        )
        refused = run()
    assert refused.exit_code == 2
    assert "batches of this run are under way at endpoint default" in refused.err


def test_no_batch_is_submitted_that_the_bound_might_not_cover(serve: Serve, home: Path) -> None:
    with serve(QUICK):
        stopped = run("--mode", "batch", "--max-cost", "0.0001")
    assert stopped.exit_code == 6
    assert "--max-cost" in stopped.err
    assert not read_batches(home / "p.results.jsonl").chunks


def test_what_is_set_aside_names_the_batches_that_go_on(serve: Serve) -> None:
    with serve(SLOW):
        run("--mode", "batch", "--detach")
        fresh = run("--mode", "batch", "--detach", "--fresh")
    assert "claude-batch batches cancel msgbatch_sandbox000001" in fresh.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--detach",), "live mode has none"),
        (("--mode", "batch", "--detach", "--sandbox"), "built-in sandbox"),
        (("--mode", "batches"), "--mode"),
        (("--mode", "batch", "--batch-size", "100001"), "--batch-size"),
        (("--mode", "auto", "--deadline", "soon"), "--deadline"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_begun(
    serve: Serve, home: Path, arguments: tuple[str, ...], said: str
) -> None:
    with serve(QUICK):
        refused = run(*arguments)
    assert refused.exit_code == 2
    assert said in refused.err
    assert not list(home.glob("*.journal"))
