"""`--mode`, `--deadline`, `--detach`: which way a run goes, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_batch.core.batch.history import ModeChosen
from claude_batch.storage.run.batch_journal import note_mode, read_batches
from tests.cli.conftest import Done, Serve, claude_batch

QUICK = "[batches]\nduration_s = 0.2\nspread = 0\n"
NONE = "[batches]\nsupported = false\n"
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


def test_nobody_is_left_in_front_of_a_live_run_that_wanted_to_leave(serve: Serve) -> None:
    with serve(QUICK):
        refused = run("--mode", "auto", "--deadline", "10m", "--detach")
    assert refused.exit_code == 2
    assert "nothing was sent" in refused.err


def test_batch_mode_is_refused_where_a_deadline_leaves_it_no_time(serve: Serve) -> None:
    with serve(QUICK):
        refused = run("--mode", "batch", "--deadline", "9m")
    assert refused.exit_code == 2
    assert "use --mode auto" in refused.err


def test_batches_go_on_where_live_mode_would_be_no_sooner(serve: Serve) -> None:
    with serve(SLOW):
        left = run("--mode", "batch", "--deadline", "9m", "--rpm", "0.1", "--detach")
    assert left.exit_code == 6
    assert "live mode would not meet the deadline either" in left.err


def test_batches_under_way_are_left_alone_once_the_deadline_is_over(
    serve: Serve, home: Path
) -> None:
    with serve(SLOW):
        run("--mode", "batch", "--detach")
        note_mode(home / "p.results.jsonl", ModeChosen(asked="batch", deadline_at=1.0))
        again = run("--detach")
    assert "the deadline is over" in again.err
    assert again.exit_code == 6
    assert not read_batches(home / "p.results.jsonl").canceled_by


def two_endpoints(home: Path, first: str, second: str, **of_the_second: str) -> None:
    """Write settings that name two endpoints."""
    more = "".join(f'{key} = "{value}"\n' for key, value in of_the_second.items())
    text = "".join(
        f'[[endpoint]]\nname = "{name}"\nbase_url = "{url}"\n'
        for name, url in (("first", first), ("second", second))
    )
    (home / "claude-batch.toml").write_text(text + more)


def test_the_next_endpoint_is_tried_where_one_has_no_batches(serve: Serve, home: Path) -> None:
    with serve(NONE) as first, serve(QUICK) as second:
        two_endpoints(home, first, second)
        done = run("--mode", "batch", "--no-canary")
    assert done.exit_code == 0
    assert "endpoint first has no Message Batches (status 404); trying endpoint second" in done.err
    history = read_batches(home / "p.results.jsonl")
    assert history.mode is not None
    assert (history.mode.endpoint, len(history.chunks)) == ("second", 1)


def test_a_fallback_is_not_asked_for_batches(serve: Serve, home: Path) -> None:
    with serve(NONE) as first, serve(QUICK) as second:
        two_endpoints(home, first, second, role="fallback")
        done = run("--mode", "batch", "--no-canary")
    assert done.exit_code == 0
    assert "the rest goes through the Messages API" in done.err
    assert not read_batches(home / "p.results.jsonl").chunks


def test_without_batches_nobody_can_leave(serve: Serve) -> None:
    with serve(NONE):
        refused = run("--mode", "batch", "--detach")
    assert refused.exit_code == 2
    assert "nothing was sent" in refused.err


def test_what_was_canceled_is_what_the_last_line_shows(serve: Serve, home: Path) -> None:
    with serve("[batches]\nduration_s = 600\ncancel_s = 0\n"):
        run("--mode", "batch", "--detach", "--no-canary")
        (batch,) = read_batches(home / "p.results.jsonl").chunks.values()
        claude_batch("batches", "cancel", str(batch.batch_id), "--yes")
        done = run()
    assert done.exit_code == 3
    assert "p.results.jsonl --only canceled" in done.err


def test_a_file_that_was_mended_is_a_new_run_where_nothing_came_of_the_old(
    serve: Serve, home: Path
) -> None:
    prompts = (home / "p.jsonl").read_text()
    with serve(QUICK):
        (home / "p.jsonl").write_text('{"prompt": "hi", "model": "claude-none"}\n' * 2)
        refused = run("--mode", "batch", "--allow-unknown-model")
        (home / "p.jsonl").write_text(prompts)
        done = claude_batch("resume", "p.results.jsonl", "--no-stdout", "--progress", "plain")
    assert refused.exit_code == 4, refused.err
    assert done.exit_code == 0, done.err
    assert "through the Message Batches API" in done.err


def test_a_deadline_is_kept_to_by_the_next_process(serve: Serve, home: Path) -> None:
    with serve(SLOW):
        run("--mode", "auto", "--deadline", "3h", "--detach")
        before = read_batches(home / "p.results.jsonl").mode
        again = run("--detach")
    assert before is not None
    assert read_batches(home / "p.results.jsonl").mode == before
    assert "goes live, to meet the deadline" in again.err


def test_without_a_mode_a_run_goes_on_as_it_began(serve: Serve) -> None:
    with serve(SLOW):
        run("--mode", "batch", "--detach")
        again = run("--detach")
    assert "resuming in batch mode: 1 batch in progress" in again.err
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
        refused = run("--config", "claude-batch.toml")
    assert refused.exit_code == 2
    assert "batches of this run are in progress at endpoint default" in refused.err


def test_no_batch_is_submitted_that_the_bound_might_not_cover(serve: Serve, home: Path) -> None:
    with serve(QUICK):
        stopped = run("--mode", "batch", "--max-cost", "0.0001")
    assert stopped.exit_code == 2
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
