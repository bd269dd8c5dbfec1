"""--schema from the file to the table: the sandbox enforces it, or ignores it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.support.program import Program

pytestmark = pytest.mark.whole

SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["billing", "bug", "praise"]},
        "urgent": {"type": "boolean"},
    },
    "required": ["label", "urgent"],
    "additionalProperties": False,
}
RUN = ("run", "in.jsonl", "--sandbox", "--schema", "labels.json", "-o", "out.csv", "--no-stdout")
QUICK = "[latency]\nbase_s = 0.05\n[batches]\nduration_s = 0.3\n"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    lines = (json.dumps({"prompt": f"Ticket {n}"}) + "\n" for n in range(12))
    (tmp_path / "in.jsonl").write_text("".join(lines))
    (tmp_path / "labels.json").write_text(json.dumps(SCHEMA))
    (tmp_path / "quick.toml").write_text(QUICK)
    (tmp_path / "half.toml").write_text(QUICK + "[output]\nignores_schemas = 0.5\n")
    return Program(folder=tmp_path)


def rows_of(program: Program, name: str = "out.csv") -> list[dict[str, str]]:
    with (program.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_answers_that_fit_become_columns(program: Program, mode: str) -> None:
    done = program.run(*RUN, "--mode", mode, "--scenario", "quick.toml")
    assert done.returncode == 0, done.stderr.decode()
    rows = rows_of(program)
    assert {row["answer_label"] for row in rows} <= {"billing", "bug", "praise"}
    assert all(json.loads(row["answer"])["label"] == row["answer_label"] for row in rows)
    assert {row["answer_error"] for row in rows} == {""}


@pytest.mark.parametrize("mode", ["live", "batch"])
def test_answers_that_do_not_fit_are_kept_counted_and_retried_when_asked(
    program: Program, mode: str
) -> None:
    done = program.run(*RUN, "--mode", mode, "--scenario", "half.toml", "--progress", "plain")
    assert done.returncode == 3, done.stderr.decode()
    rows = rows_of(program)
    broken = [row for row in rows if row["answer_error"]]
    assert 0 < len(broken) < len(rows)
    assert f"{len(broken)} answers break their schema".encode() in done.stderr
    assert {row["answer_status"] for row in rows} == {"succeeded"}
    assert all(row["answer"].startswith("[sandbox") for row in broken)
    assert {row["answer_label"] for row in broken} == {""}
    again = program.run(*RUN, "--progress", "plain")
    assert again.returncode == 3
    (program.folder / "half.toml").write_text(QUICK)
    retried = program.run("resume", "out.csv", "--retry-errored", "--no-stdout")
    assert retried.returncode == 0, retried.stderr.decode()
    assert {row["answer_error"] for row in rows_of(program)} == {""}
    assert [row["prompt"] for row in rows_of(program)] == [row["prompt"] for row in rows]


def test_the_next_step_of_answers_that_were_cut_off_gives_them_more_room(program: Program) -> None:
    few = program.run(*RUN, "--scenario", "quick.toml", "--max-tokens", "9")
    assert few.returncode == 3, few.stderr.decode()
    step = few.stderr.decode().split("claude-batch resume ")[1].split()[:4]
    assert step == ["--retry-errored", "--max-tokens", "18", "out.csv.results.jsonl"]
    again = program.run("resume", *step[:2], "19", step[3], "--no-stdout")
    assert (again.returncode, b"--max-tokens 38 " in again.stderr) == (3, True)
    finished = program.run("resume", step[3], "--no-stdout")
    assert b"--retry-stop max_tokens --max-tokens N " in finished.stderr
    last = program.run("resume", *step[:2], "1000", step[3], "--no-stdout")
    assert last.returncode == 0, last.stderr.decode()
    assert {row["answer_error"] for row in rows_of(program)} == {""}


def test_what_the_api_refuses_is_refused_before_anything_is_sent(program: Program) -> None:
    schema = {**SCHEMA, "properties": {"n": {"type": "integer", "minimum": 0}}}
    (program.folder / "labels.json").write_text(json.dumps(schema))
    refused = program.run(*RUN)
    assert refused.returncode == 2
    assert b"--schema: #/properties/n: the API refuses 'minimum'" in refused.stderr
    assert not (program.folder / "out.csv.results.jsonl").exists()


def test_another_schema_is_another_run(program: Program) -> None:
    assert program.run(*RUN).returncode == 0
    (program.folder / "labels.json").write_text(json.dumps(SCHEMA, indent=2))
    assert program.run(*RUN).returncode == 0
    changed = {**SCHEMA, "description": "other"}
    (program.folder / "labels.json").write_text(json.dumps(changed))
    assert program.run(*RUN).returncode == 5


def test_a_line_is_checked_against_its_own_schema(program: Program) -> None:
    schema = {**SCHEMA, "required": ["label"]}
    line = {
        "custom_id": "own",
        "params": {
            "messages": [{"role": "user", "content": "Ticket"}],
            "output_config": {"format": {"type": "json_schema", "schema": schema}},
        },
    }
    (program.folder / "in.jsonl").write_text(json.dumps(line) + "\n")
    (program.folder / "half.toml").write_text("[output]\nignores_schemas = 1\n")
    command = ("run", "in.jsonl", "--sandbox", "--scenario", "half.toml")
    done = program.run(*command)
    assert done.returncode == 3, done.stderr.decode()
    assert json.loads(done.stdout)["meta"]["output_error"] == "the answer is not JSON"
