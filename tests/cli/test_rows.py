"""Files of rows through the commands: check and estimate leave nothing; a run resumes."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.cli.conftest import claude_batch

TICKETS = 'id,Customer Name,text\n1,Ann,"Hello,\nyou"\n2,Bob,Bye\n'
ASK = ("--prompt", "Classify {{Customer Name}}: {{text}}")
QUIET = ("--sandbox", "--yes", "--quiet")


def results(home: Path, name: str = "t.sandbox.results.jsonl") -> list[dict[str, object]]:
    return [orjson.loads(line) for line in (home / name).read_bytes().splitlines()]


def test_check_and_estimate_leave_nothing_behind(home: Path) -> None:
    (home / "t.csv").write_text(TICKETS)
    assert claude_batch("check", "t.csv", *ASK).exit_code == 0
    assert claude_batch("estimate", "t.csv", *ASK).exit_code == 0
    assert [each.name for each in home.iterdir()] == ["t.csv"]


def test_rows_keep_their_ids_their_data_and_their_lines(home: Path) -> None:
    (home / "t.csv").write_text(TICKETS)
    assert claude_batch("run", "t.csv", *ASK, *QUIET).exit_code == 0
    found = sorted(results(home), key=lambda each: str(each["custom_id"]))
    assert [each["custom_id"] for each in found] == ["1", "2"]
    assert [each["meta"]["line"] for each in found] == [2, 4]  # type: ignore[index]
    assert found[1]["meta"]["user"] == {"id": "2", "Customer Name": "Bob", "text": "Bye"}  # type: ignore[index]
    kept = (home / "t.sandbox.results.jsonl.prompts").read_bytes().splitlines()
    assert [orjson.loads(line)["line"] for line in kept] == [2, 4]


@pytest.mark.parametrize(
    "command", [("run", "t.csv", *ASK, *QUIET), ("resume", "t.sandbox.results.jsonl", "--quiet")]
)
def test_what_is_lost_is_done_again_and_nothing_else(home: Path, command: tuple[str, ...]) -> None:
    (home / "t.csv").write_text(TICKETS)
    claude_batch("run", "t.csv", *ASK, *QUIET)
    path = home / "t.sandbox.results.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first)
    assert claude_batch(*command).exit_code == 0
    kept, again = path.read_bytes().splitlines(keepends=True)
    assert kept == first
    assert orjson.loads(again)["custom_id"] == orjson.loads(second)["custom_id"]


def test_another_template_is_another_run(home: Path) -> None:
    (home / "t.csv").write_text(TICKETS)
    (home / "p.txt").write_text("Rate {{text}}\n")
    assert claude_batch("run", "t.csv", "--prompt-file", "p.txt", *QUIET).exit_code == 0
    done = claude_batch("run", "t.csv", "--prompt", "Grade {{text}}", *QUIET)
    assert done.exit_code == 5
    assert "was started with --prompt 'Rate {{text}}" in " ".join(done.err.split())


def test_a_file_that_cannot_be_read_is_called_as_the_user_calls_it(home: Path) -> None:
    (home / "t.csv").write_text("question\nx\n")
    done = claude_batch("check", "t.csv")
    assert done.exit_code == 2
    assert "t.csv: there is no column 'prompt' (columns: question)" in " ".join(done.err.split())


def test_data_beside_a_prompt_is_noted(home: Path) -> None:
    (home / "p.jsonl").write_text('{"prompt": "x", "domain": "law"}\n')
    assert "Kept as data, not sent: domain" in claude_batch("check", "p.jsonl").out


def test_a_limit_is_a_trial_that_the_same_command_continues(home: Path) -> None:
    (home / "t.csv").write_text("id,text\n" + "".join(f"{n},word\n" for n in range(1, 31)))
    command = ("run", "t.csv", "--prompt", "Rate {{text}}", "--sandbox", "--yes")
    trial = claude_batch(*command, "--limit", "4", "--progress", "plain")
    assert trial.exit_code == 6
    words = " ".join(trial.err.split())
    assert "4 of 30 done: 0.0" in words
    assert "The whole file: about 0.0" in words
    assert "as batch. To continue, run the same command without --limit" in words
    assert sorted(each["meta"]["line"] for each in results(home)) == [2, 3, 4, 5]  # type: ignore[index]
    assert claude_batch(*command, "--limit", "4", "--quiet").exit_code == 6
    assert len(results(home)) == 4
    assert claude_batch(*command, "--quiet").exit_code == 0
    assert len(results(home)) == 30


def test_a_limit_that_leaves_nothing_is_no_bound(home: Path) -> None:
    (home / "t.csv").write_text(TICKETS)
    assert claude_batch("run", "t.csv", *ASK, *QUIET, "--limit", "2").exit_code == 0
    assert claude_batch("run", "t.csv", *ASK, *QUIET, "--random").exit_code == 2


def test_requests_are_shown_as_they_would_be_sent(home: Path) -> None:
    (home / "t.csv").write_text(TICKETS)
    done = claude_batch("check", "t.csv", *ASK, "--show", "1", "--json").json()
    (shown,) = done["shown"]
    assert (shown["custom_id"], shown["line"]) == ("1", 2)
    assert shown["params"]["messages"][0]["content"] == "Classify Ann: Hello,\nyou"
    assert '"content": "Classify Ann' in claude_batch("check", "t.csv", *ASK, "--show", "1").out


def test_a_source_that_is_gone_or_saved_again_is_no_change(home: Path) -> None:
    (home / "t.csv").write_text(TICKETS)
    command = ("run", "t.csv", *ASK, *QUIET)
    claude_batch(*command)
    (home / "t.csv").write_bytes(
        ("\ufeff" + TICKETS.replace("2,Bob,Bye", '"2",Bob,"Bye"')).encode()
    )
    assert claude_batch(*command).exit_code == 0
    (home / "t.csv").unlink()
    assert claude_batch(*command).exit_code == 0
    assert claude_batch("resume", "t.sandbox.results.jsonl", "--quiet").exit_code == 0
    assert len(results(home)) == 2


@pytest.mark.parametrize(
    "command", [("run", "t.csv", *ASK, *QUIET), ("resume", "t.sandbox.results.jsonl")]
)
def test_a_source_that_has_changed_is_refused_with_where(
    home: Path, command: tuple[str, ...]
) -> None:
    (home / "t.csv").write_text(TICKETS)
    claude_batch("run", "t.csv", *ASK, *QUIET)
    (home / "t.csv").write_text(TICKETS.replace("Bye", "Good bye"))
    done = claude_batch(*command)
    assert done.exit_code == 5
    assert "it differs from line 4 on" in " ".join(done.err.split())


@pytest.mark.parametrize(
    ("name", "old", "new", "options"),
    [
        ("t.csv", TICKETS, "3,Cid,Oh\n4,Dan,Ah\n", ASK),
        ("t.jsonl", '"one"\n"two"\n', '"three"\n"four"\n', ()),
        ("t.jsonl", '"one"\n"two"', '\n"three"\n"four"\n', ()),
    ],
)
@pytest.mark.parametrize("resumed", [False, True])
def test_rows_added_at_the_end_are_taken_up(
    home: Path, name: str, old: str, new: str, options: tuple[str, ...], *, resumed: bool
) -> None:
    (home / name).write_text(old)
    command = ("run", name, *options, *QUIET)
    claude_batch(*command)
    first = (home / "t.sandbox.results.jsonl").read_bytes()
    (home / name).write_text(old + new)
    refused = claude_batch(*command)
    assert refused.exit_code == 5
    words = " ".join(refused.err.split())
    assert "rows were added at its end" in words
    assert "to take the new rows up: the same command with --extend" in words
    if resumed:
        command = ("resume", "t.sandbox.results.jsonl", "--quiet")
    assert claude_batch(*command, "--extend").exit_code == 0
    assert (home / "t.sandbox.results.jsonl").read_bytes().startswith(first)
    assert len(results(home)) == 4
    assert claude_batch(*command).exit_code == 0
    assert claude_batch(*command, "--extend").exit_code == 0
    assert len({str(each["custom_id"]) for each in results(home)}) == 4


@pytest.mark.parametrize(
    ("options", "error", "step"),
    [
        (("--prompt", "x {text}"), "{text} has one brace", "write two: {{text}}"),
        (("--prompt-column", "text", "--delimiter", ";"), "no column 'text'", "--delimiter?"),
        (("--prompt-column", "text", "--sheet", "A"), "--sheet is for xlsx", "leave --sheet out"),
        (("--prompt-column", "text", "--no-header"), "no option", "did you mean --no-headers?"),
        (("--prompt-column", "text", "--limit", "ten"), "whole number", "--limit 10"),
        (("--prompt-column", "text", "--params", "a.json"), "a.json: no such file", "--params '{"),
        (
            ("--prompt-column", "text", "--params", '{"max_token": 5}'),
            "unknown key 'max_token' in --params",
            "did you mean 'max_tokens'?",
        ),
        (("--prompt", "x {{text}}", "--attach", "text"), "yyy...' cannot be read", ""),
    ],
)
def test_a_mistyped_input_option_is_named_with_what_was_meant(
    home: Path, options: tuple[str, ...], error: str, step: str
) -> None:
    (home / "t.csv").write_text("id,text\n1,Hello\n2," + "y" * 30_000 + "\n")
    done = claude_batch("check", "t.csv", *options)
    assert done.exit_code == 2
    assert error in done.err
    assert step in done.err
