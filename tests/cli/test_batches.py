"""`batches`: list, show and cancel Message Batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_batch.storage.run.batch_journal import read_batches
from claude_batch.storage.run.journal import journal_path
from tests.cli.conftest import Serve, claude_batch

SLOW = "[batches]\nduration_s = 600\ncancel_s = 0\n"
NONE = "[batches]\nsupported = false\n"
FIRST = "msgbatch_sandbox000001"


@pytest.fixture
def detached(serve: Serve, home: Path) -> Iterator[Path]:
    """Leave three batches running, and return the results file of their run."""
    prompts = [{"custom_id": f"p{n}", "prompt": f"Say {n}."} for n in range(6)]
    (home / "p.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    how = ("--mode", "batch", "--batch-size", "2", "--no-canary", "--detach")
    with serve(SLOW):
        left = claude_batch("run", "p.jsonl", *how, "--no-stdout", "--progress", "none")
        assert left.exit_code == 6
        yield home / "p.results.jsonl"


def test_a_workspace_without_batches_has_none(serve: Serve) -> None:
    with serve():
        assert claude_batch("batches", "list", "--json").json() == []


@pytest.mark.usefixtures("detached")
def test_the_newest_are_listed_first_with_the_run_they_belong_to() -> None:
    listed = claude_batch("batches", "list", "--json").json()
    assert [each["id"][-1] for each in listed] == ["3", "2", "1"]
    assert {each["run"] for each in listed} == {"p.results.jsonl"}


@pytest.mark.usefixtures("detached")
def test_a_limit_bounds_the_list() -> None:
    assert len(claude_batch("batches", "list", "--limit", "2", "--json").json()) == 2


@pytest.mark.usefixtures("detached")
def test_the_table_is_on_stdout() -> None:
    done = claude_batch("batches", "list")
    assert FIRST in done.out
    assert "p.results.jsonl" in done.out


@pytest.mark.usefixtures("detached")
def test_no_count_is_shown_before_the_end() -> None:
    assert claude_batch("batches", "show", FIRST, "--json").json()["counts"] is None
    assert "no counts before the end" in claude_batch("batches", "show", FIRST).out


@pytest.mark.usefixtures("detached")
def test_cancel_asks_first() -> None:
    refused = claude_batch("batches", "cancel", FIRST)
    assert refused.exit_code == 2
    assert "2 requests" in refused.err
    assert "--yes" in refused.err
    assert claude_batch("batches", "show", FIRST, "--json").json()["state"] == "in_progress"


def test_a_canceled_batch_is_noted_in_the_journal_of_its_run(detached: Path) -> None:
    (canceled,) = claude_batch("batches", "cancel", FIRST, "--yes", "--json").json()
    assert canceled["id"] == FIRST
    assert canceled["state"] in {"canceling", "ended"}
    assert read_batches(detached).canceled_by == {FIRST: "user"}


def test_all_batches_of_a_run_are_canceled_together(detached: Path) -> None:
    canceled = claude_batch("batches", "cancel", "--run", detached.name, "--yes", "--json").json()
    assert len(canceled) == 3
    assert set(read_batches(detached).canceled_by.values()) == {"user"}
    status = claude_batch("status", detached.name, "--json").json()
    assert [each["state"] for each in status["batches"]] == ["canceling"] * 3


@pytest.mark.usefixtures("detached")
def test_a_batch_that_has_ended_is_left_as_it_is() -> None:
    claude_batch("batches", "cancel", FIRST, "--yes")
    again = claude_batch("batches", "cancel", FIRST, "--yes")
    assert again.exit_code == 0
    assert "has ended already" in again.err


def test_a_batch_of_elsewhere_is_canceled_with_a_warning(detached: Path) -> None:
    detached.with_name("p.results.jsonl.journal").rename(detached.with_name("elsewhere"))
    canceled = claude_batch("batches", "cancel", FIRST, "--yes")
    assert canceled.exit_code == 0
    assert f"no run in or below this folder has the batch {FIRST}" in canceled.err


@pytest.mark.usefixtures("detached")
def test_status_shows_the_batches_of_a_run() -> None:
    status = claude_batch("status", "p.results.jsonl", "--json").json()
    assert [each["state"] for each in status["batches"]] == ["waiting"] * 3
    told = claude_batch("status", "p.results.jsonl").out
    assert FIRST in told
    assert "the API reports no counts before a batch has ended" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", FIRST), "show ID"),
        (("show",), "which batch?"),
        (("cancel",), "which batches?"),
        (("cancel", FIRST, "--run", "p.results.jsonl"), "which batches?"),
        (("remove", FIRST), "'cancel'"),
        (("list", "--limit", "0"), "--limit"),
    ],
)
def test_what_is_wrong_is_named(arguments: tuple[str, ...], said: str) -> None:
    refused = claude_batch("batches", *arguments)
    assert refused.exit_code == 2
    assert said in refused.err


@pytest.mark.parametrize("action", ["show", "cancel"])
def test_a_run_in_the_place_of_a_batch_is_named(detached: Path, action: str) -> None:
    refused = claude_batch("batches", action, detached.name)
    assert refused.exit_code == 2
    assert f"claude-batch batches cancel --run {detached.name}" in refused.err
    assert f"claude-batch status {detached.name} " in refused.err


def test_an_unknown_batch_is_a_question_of_the_key(serve: Serve) -> None:
    with serve():
        refused = claude_batch("batches", "show", "msgbatch_none")
    assert refused.exit_code == 2
    assert "workspace of the key" in refused.err


def test_an_endpoint_without_batches_says_so(serve: Serve) -> None:
    with serve(NONE):
        refused = claude_batch("batches", "list")
    assert refused.exit_code == 4
    assert "no Message Batches" in refused.err


def test_the_other_endpoints_are_listed_where_one_has_no_batches(serve: Serve, home: Path) -> None:
    with serve(NONE) as first, serve(SLOW) as second:
        (home / "claude-batch.toml").write_text(
            f'[[endpoint]]\nname = "first"\nbase_url = "{first}"\n'
            f'[[endpoint]]\nname = "second"\nbase_url = "{second}"\n'
        )
        listed = claude_batch("batches", "list", "--json")
    assert listed.exit_code == 0
    assert listed.json() == []
    assert "first: batches:" in listed.err


def test_an_endpoint_of_another_kind_is_not_asked(home: Path) -> None:
    (home / "claude-batch.toml").write_text(
        '[[endpoint]]\nname = "local"\nprovider = "openai"\nbase_url = "http://127.0.0.1:1"\n'
    )
    refused = claude_batch("batches", "list")
    assert refused.exit_code == 2
    assert "local" in refused.err


def test_batches_of_a_run_folder_name_their_shard_and_are_canceled_together(
    serve: Serve, home: Path
) -> None:
    for name in "ab":
        (home / f"{name}.jsonl").write_text('"Say one."\n"Say two."\n')
    how = ("--mode", "batch", "--batch-size", "1", "--no-canary", "--detach", "--progress", "none")
    with serve(SLOW):
        assert claude_batch("run", "a.jsonl", "b.jsonl", "--out", "o/", *how).exit_code == 6
        listed = claude_batch("batches", "list", "--json").json()
        assert {each["run"] for each in listed} == {"o/ shard 1", "o/ shard 2"}
        asked = claude_batch("batches", "cancel", "--run", "o/")
        assert asked.exit_code == 2
        assert "4 batches (4 requests)" in asked.err
        canceled = claude_batch("batches", "cancel", "--run", "o/", "--yes", "--json")
        assert [each["run"] for each in canceled.json()] == ["o/ shard 1"] * 2 + ["o/ shard 2"] * 2
        assert "no run" not in canceled.err
    for number in (1, 2):
        results = home / f"o/shards/000{number}/1.results.jsonl"
        assert len(read_batches(results).canceled_by) == 2


def test_a_batch_whose_submission_got_no_answer_is_not_said_to_be_none(
    detached: Path,
) -> None:
    journal = journal_path(detached)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(each for each in lines if b'"batch_created"' not in each))
    refused = claude_batch("batches", "cancel", "--run", detached.name, "--yes")
    assert refused.exit_code == 2
    assert "not known yet; nothing was canceled" in " ".join(refused.err.split())
    assert "claude-batch resume p.results.jsonl" in refused.err
    assert "no batch" not in refused.err


def test_a_results_file_without_a_journal_is_no_run(serve: Serve) -> None:
    with serve():
        refused = claude_batch("batches", "cancel", "--run", "none.jsonl", "--yes")
    assert refused.exit_code == 2
    assert "none.jsonl" in refused.err


def test_the_path_of_a_table_stands_for_its_run(serve: Serve, home: Path) -> None:
    prompts = [{"custom_id": f"p{n}", "prompt": f"Say {n}."} for n in range(4)]
    (home / "p.jsonl").write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts))
    how = ("--mode", "batch", "--batch-size", "2", "--no-canary", "--detach", "-o", "out.csv")
    quiet = ("--no-stdout", "--progress", "none")
    with serve(SLOW):
        claude_batch("run", "p.jsonl", *how, *quiet)
        (home / "out.csv").unlink(missing_ok=True)
        assert len(claude_batch("status", "out.csv", "--json").json()["batches"]) == 2
        canceled = claude_batch("batches", "cancel", "--run", "out.csv", "--yes", "--json")
        assert len(canceled.json()) == 2
        collected = claude_batch("resume", "out.csv", *quiet)
        again = claude_batch("resume", "out.csv", "--retry-errored", "--mode", "live", *quiet)
    assert collected.exit_code == 3, collected.err
    assert again.exit_code in {0, 3}, again.err
    assert claude_batch("results", "out.csv", "-o", "again.tsv").exit_code == 0
    assert claude_batch("status", "out.csv", "--history", "--json").exit_code == 0
    assert claude_batch("report", "out.csv", "-o", "report.html").exit_code == 0
    assert "no run" not in claude_batch("adjust", "out.csv", "--rpm", "60").err


def test_prompts_in_the_place_of_results_are_named_with_what_was_meant(
    serve: Serve, home: Path
) -> None:
    (home / "p.jsonl").write_text('"Say one."\n')
    with serve():
        claude_batch("run", "p.jsonl", "--no-stdout", "--progress", "none")
        for command in (("status",), ("resume",), ("batches", "cancel", "--yes", "--run")):
            refused = claude_batch(*command, "p.jsonl")
            assert (refused.exit_code, "did you mean p.results.jsonl?" in refused.err) == (2, True)
