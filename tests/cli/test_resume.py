"""Resuming is the same run: its options are in force again, in `resume` and in `run` alike."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from claude_batch.core.model.requests import Request
from claude_batch.storage.prompts.parse import parse_line
from claude_batch.storage.run.journal import journal_path, read_journal
from claude_batch.transport.messages import MessagesTransport
from tests.cli.conftest import Done, Serve, claude_batch

RESULTS = "p.results.jsonl"
QUIET = ("--no-stdout", "--progress", "plain")


@pytest.fixture(autouse=True)
def prompts(home: Path) -> None:
    """Write forty prompts that cost alike."""
    lines = [{"custom_id": f"p{n}", "prompt": f"Say {n}.", "max_tokens": 64} for n in range(40)]
    (home / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def bounded(*arguments: str) -> Done:
    """Run until the bound on the cost is met."""
    return claude_batch("run", "p.jsonl", *QUIET, "--max-cost", "0.0006", *arguments)


def kept(home: Path) -> dict[str, object]:
    journal = read_journal(home / RESULTS)
    assert journal is not None
    return {**journal.settings.flags}


def test_options_of_a_run_are_in_force_when_it_is_resumed(serve: Serve, home: Path) -> None:
    with serve():
        stopped = bounded("--rpm", "6000", "--share", "0.5", "--no-canary")
        again = claude_batch("resume", RESULTS, *QUIET, "--max-cost", "0.0008")
    assert stopped.exit_code == 6, stopped.err
    assert "Using --no-canary, --rpm 6000, --share 0.5 from this run's journal" in again.err
    assert "--max-cost" not in again.err.partition("from this run's journal")[0]
    assert kept(home) == {"rpm": 6000.0, "share": 0.5, "canary": False, "max_cost": 0.0008}


def test_options_of_a_run_are_in_force_when_run_is_repeated_with_fewer(serve: Serve) -> None:
    with serve():
        bounded("--rpm", "6000")
        again = claude_batch("run", "p.jsonl", *QUIET, "--max-cost", "0.0008")
    assert "Using --rpm 6000 from this run's journal; override or unset with none" in again.err, (
        again.err
    )


def test_none_unsets_an_option_for_good(serve: Serve, home: Path) -> None:
    with serve():
        bounded("--rpm", "6000")
        claude_batch("resume", RESULTS, *QUIET, "--rpm", "none", "--max-cost", "0.0008")
        again = claude_batch("resume", RESULTS, *QUIET, "--max-cost", "none")
    assert "from this run's journal" not in again.err
    assert again.exit_code == 0
    assert kept(home) == {"rpm": None, "max_cost": None}


def test_a_variable_of_the_run_is_in_force_without_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_BATCH_RPM", "6000")
    with serve():
        bounded()
        monkeypatch.delenv("CLAUDE_BATCH_RPM")
        again = claude_batch("resume", RESULTS, *QUIET, "--max-cost", "0.0008")
    assert "Using --rpm 6000 from" in again.err


def test_options_of_a_command_are_not_in_force_again(serve: Serve, home: Path) -> None:
    with serve():
        bounded("--new-only", "--yes", "--format", "text")
    assert kept(home) == {"max_cost": 0.0006}


def test_a_fresh_run_begins_without_the_options_of_the_old(serve: Serve) -> None:
    with serve():
        bounded("--rpm", "6000")
        fresh = claude_batch("run", "p.jsonl", *QUIET, "--fresh")
    assert "from this run's journal" not in fresh.err
    assert fresh.exit_code == 0


def test_after_its_bound_a_run_needs_a_new_one_and_the_screen_names_it(
    serve: Serve, home: Path
) -> None:
    with serve():
        stopped = bounded()
        (command,) = (line for line in stopped.err.splitlines() if "claude-batch resume" in line)
        refused = claude_batch("resume", RESULTS, *QUIET)
        arguments = command[command.index("claude-batch") :].split()[1:]
        done = claude_batch(*arguments, *QUIET)
    assert stopped.exit_code == 6
    assert refused.exit_code == 6
    assert "this run has reached its --max-cost" in refused.err
    assert f"claude-batch {' '.join(arguments)}" in refused.err
    assert done.exit_code == 0, done.err
    assert len((home / RESULTS).read_text().splitlines()) == 40


def test_with_a_bound_few_lines_are_parsed_before_the_first_is_sent(
    serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (home / "p.jsonl").read_text()
    more = (json.dumps({"custom_id": f"q{n}", "prompt": "Say it."}) + "\n" for n in range(5_000))
    (home / "p.jsonl").write_text(lines + "".join(more))
    parsed: list[int] = []
    before: list[int] = []
    send = MessagesTransport.send

    def counted(raw: bytes, line: int, *more: Any, **options: Any) -> Any:
        parsed.append(line)
        return parse_line(raw, line, *more, **options)

    async def noted(self: MessagesTransport, request: Request, *, timeout_s: float) -> Any:
        before.append(len(parsed))
        return await send(self, request, timeout_s=timeout_s)

    with serve():
        bounded()
        monkeypatch.setattr("claude_batch.storage.prompts.reading.parse_line", counted)
        monkeypatch.setattr(MessagesTransport, "send", noted)
        claude_batch("resume", RESULTS, *QUIET, "--max-cost", "0.0012")
    assert before[0] <= 2_000  # of 5,040: some are read ahead while the first is on its way


def test_status_names_the_command_that_works(serve: Serve) -> None:
    with serve():
        bounded()
        command = claude_batch("status", RESULTS, "--json").json()["next_command"]
        done = claude_batch(*command.split()[1:], *QUIET)
    assert done.exit_code == 0, done.err


def test_the_same_bound_typed_again_sends_nothing_and_names_one_that_will_do(serve: Serve) -> None:
    with serve():
        bounded()
        again = bounded()
    assert again.exit_code == 6
    assert "nothing was sent" in again.err
    assert "--max-cost" in again.err


def test_without_a_bound_a_run_ends(serve: Serve) -> None:
    with serve():
        bounded()
        done = claude_batch("resume", RESULTS, *QUIET, "--max-cost", "none")
    assert done.exit_code == 0


def test_a_settings_file_that_is_gone_is_missed(serve: Serve, home: Path) -> None:
    with serve() as url:
        pool = home / "pool.toml"
        pool.write_text(f'[[endpoint]]\nname = "a"\nbase_url = "{url}"\n')
        bounded("--config", "pool.toml")
        pool.rename(home / "moved.toml")
        missed = claude_batch("resume", RESULTS, *QUIET, "--max-cost", "none")
        named = ("--config", "moved.toml", "--max-cost", "none")
        done = claude_batch("resume", RESULTS, *QUIET, *named)
    assert missed.exit_code == 2
    assert "pool.toml, the settings file that this run was started with, is gone" in missed.err
    assert done.exit_code == 0, done.err


def test_a_journal_of_options_that_cannot_be_read_is_damaged(serve: Serve, home: Path) -> None:
    with serve():
        bounded()
        journal = journal_path(home / RESULTS)
        journal.write_text(journal.read_text().replace('"max_cost":0.0006', '"max_cost":"much"'))
        refused = claude_batch("resume", RESULTS, *QUIET)
    assert refused.exit_code == 5
    assert "the options in the journal cannot be read" in refused.err


def test_resume_takes_the_run_that_status_lists_first(serve: Serve, home: Path) -> None:
    with serve():
        for name in ("a.jsonl", "b.jsonl"):
            bounded("-o", name)
        journals = [journal_path(home / name) for name in ("a.jsonl", "b.jsonl")]
        for number, path in enumerate((*journals, home / "b.jsonl", home / "a.jsonl")):
            os.utime(path, (1_000 + number, 1_000 + number))  # a's result was written last
        listed = claude_batch("status", "--json").json()
        resumed = claude_batch("resume", *QUIET, "--max-cost", "none")
    assert Path(listed[0]["results"]).name == "a.jsonl"
    assert "a.jsonl" in resumed.err
    assert len((home / "a.jsonl").read_text().splitlines()) == 40


def test_a_run_with_another_model_is_named(serve: Serve) -> None:
    with serve():
        bounded("--model", "claude-haiku-5-5")
        refused = bounded()
    assert refused.exit_code == 5
    assert (
        "was started with --model claude-haiku-5-5, but this command has no --model" in refused.err
    )


def test_prompts_that_are_gone_are_asked_back_where_requests_are_left(
    serve: Serve, home: Path
) -> None:
    with serve():
        bounded()
        done = len((home / RESULTS).read_text().splitlines())
        (home / "p.jsonl").rename(home / "moved.jsonl")
        for command in (("run", "p.jsonl"), ("resume", RESULTS)):
            refused = claude_batch(*command, *QUIET, "--max-cost", "none")
            assert refused.exit_code == 2
            assert f"p.jsonl is gone: of its 40 requests {40 - done} have no re" in refused.err
            assert "put it back, unchanged" in refused.err
        moved = claude_batch("run", "moved.jsonl", "--out", RESULTS, *QUIET, "--max-cost", "none")
    assert moved.exit_code == 0, moved.err
    assert len((home / RESULTS).read_text().splitlines()) == 40


def test_prompts_that_are_gone_are_not_missed_where_all_is_done(serve: Serve, home: Path) -> None:
    out = ("-o", "t.csv")
    with serve():
        first = claude_batch("run", "p.jsonl", *QUIET, *out)
        (home / "p.jsonl").unlink()
        again = claude_batch("run", "p.jsonl", *QUIET, *out)
        limited = claude_batch("run", "p.jsonl", *QUIET, *out, "--limit", "3")
        (home / "t.csv").unlink()
        resumed = claude_batch("resume", "t.csv", *QUIET)
        other = claude_batch("run", "p.jsonl", *QUIET, *out, "--model", "claude-opus-5-5")
        retry = claude_batch("resume", "t.csv", *QUIET, "--retry-errored")
    assert [each.exit_code for each in (first, again, limited, resumed)] == [0, 0, 0, 0]
    assert len((home / "t.csv").read_text().splitlines()) == 41
    assert other.exit_code == 5
    assert (retry.exit_code, "--retry-errored sends requests again" in retry.err) == (2, True)


def test_a_copy_of_a_table_that_is_gone_is_made_again(serve: Serve, home: Path) -> None:
    (home / "t.csv").write_text("prompt\n" + "".join(f"Say {n}.\n" for n in range(40)))
    with serve():
        stopped = claude_batch("run", "t.csv", *QUIET, "-o", "o.csv", "--limit", "7")
        (home / "o.csv.results.jsonl.prompts").unlink()
        done = claude_batch("resume", "o.csv", *QUIET)
    assert (stopped.exit_code, done.exit_code) == (6, 0), done.err
    assert len((home / "o.csv").read_text().splitlines()) == 41
