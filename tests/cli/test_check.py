"""`check`: each cause once, and advice that is right."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tests.cli.conftest import claude_batch


def write(folder: Path, *lines: object) -> None:
    raw = [line if isinstance(line, bytes) else orjson.dumps(line) for line in lines]
    (folder / "p.jsonl").write_bytes(b"\n".join(raw) + b"\n")


def test_one_cause_is_one_message_with_its_count_and_first_lines(home: Path) -> None:
    write(
        home, "fine", *[{"prompt": "x", "sytem": "law"}] * 4_997, {"prompt": "x", "temprature": "y"}
    )
    done = claude_batch("check", "p.jsonl")
    assert done.exit_code == 2
    bad = [line for line in done.err.splitlines() if line.startswith("p.jsonl:")]
    assert bad[0].startswith(
        "p.jsonl:2: unknown key 'sytem' beside prompt; also lines 3, 4 and 4,994 more (did you "
    )
    assert bad[1].startswith("p.jsonl:4999: unknown key 'temprature' beside prompt (")
    assert len(bad) == 2


def test_many_causes_are_shown_in_part_and_counted_in_full(home: Path) -> None:
    write(home, "fine", *({"params": {}, f"{'q' * n}z": 1} for n in range(70)))
    done = claude_batch("check", "p.jsonl")
    assert "... and 50 more bad lines" in done.err
    found = claude_batch("check", "p.jsonl", "--json").json()
    assert (found["invalid"], len(found["errors"]), len(found["causes"])) == (70, 70, 50)
    assert found["causes"][0]["first"] == [2]


@pytest.mark.parametrize(
    ("line", "note"),
    [
        ("x", "Using claude-haiku-5-5, max_tokens 1024, for 3 lines that set neither (change with"),
        (
            {"prompt": "x", "max_tokens": 9},
            "Using claude-haiku-5-5 for 3 lines without a model, max_tokens 1024 where none is set",
        ),
    ],
)
def test_the_defaults_are_named(home: Path, line: object, note: str) -> None:
    write(home, *[line] * 3)
    assert note in claude_batch("check", "p.jsonl").out


@pytest.mark.parametrize("line", ["x", {"prompt": "x", "model": "claude-haiku-5-5"}])
def test_defaults_that_were_chosen_are_not_named(home: Path, line: object) -> None:
    write(home, line)
    options = ("--model", "claude-haiku-5-5") if isinstance(line, str) else ()
    assert "Using" not in claude_batch("check", "p.jsonl", *options).out


def test_a_budget_that_cannot_be_is_a_warning(home: Path) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1_000}
    line = {"prompt": "x", "model": "claude-haiku-4-5", "max_tokens": 900, "thinking": thinking}
    write(home, line, line)
    done = claude_batch("check", "p.jsonl")
    assert done.exit_code == 0
    assert "requires a thinking.budget_tokens of at least 1,024 (and line 2)" in done.out
    assert "requires max_tokens above thinking.budget_tokens (and line 2)" in done.out


def test_limit_shows_what_a_trial_would_send(home: Path) -> None:
    write(home, *({"prompt": f"Name a city in country {n}."} for n in range(40)))
    found = claude_batch("check", "p.jsonl", "--limit", "3", "--random", "--show", "9", "--json")
    report = found.json()
    assert (report["requests"], report["limited"]["requests"], len(report["shown"])) == (40, 3, 3)
    assert 0 < report["limited"]["input_tokens"] * 10 < report["input_tokens"] * 2
    assert "--limit: 5 of 40 requests" in claude_batch("check", "p.jsonl", "--limit", "5").out


def test_a_table_without_rows_is_named_with_its_header(home: Path) -> None:
    (home / "t.csv").write_text("id,text\n")
    done = claude_batch("check", "t.csv", "--prompt", "{{text}}")
    assert (done.exit_code, "no rows below the header (id, text)" in done.err) == (2, True)


@pytest.mark.parametrize("options", [(), ("--prompt", "{{q}}"), ("--prompt-column", "q")])
def test_rows_under_a_key_in_one_line_are_named(home: Path, options: tuple[str, ...]) -> None:
    write(home, {"data": [{"q": "one"}, {"q": "two"}], "meta": [1]})
    refused = claude_batch("check", "p.jsonl", *options)
    assert (refused.exit_code, "--field data" in refused.err) == (2, True)
    asked = claude_batch("check", "p.jsonl", "--field", "data", "--prompt", "{{q}}", "--json")
    assert asked.json()["requests"] == 2
    assert claude_batch("check", "p.jsonl", "--prompt", "Sum up {{data}}").exit_code == 0
