"""A table out: written at every end, refused where it would replace what is not its own."""

from __future__ import annotations

import csv
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.killing import QUICK, killed_again_and_again
from tests.support.program import Program, served, wait_for

pytestmark = pytest.mark.whole

ROWS: list[dict[str, Any]] = [
    {"prompt": "Hello", "Customer Name": "Ann", "ticket-id": 7},
    {"prompt": 'a "quote",\nand a line', "Customer Name": "=SUM(A1)", "ticket-id": None},
    {"prompt": "é 😀 " + "x" * 30_000, "Customer Name": "", "ticket-id": 9},
]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    requests = (
        json.dumps(
            {
                "custom_id": f"r{n}",
                "params": {"messages": [{"role": "user", "content": row["prompt"]}]},
                "meta": row,
            }
        )
        + "\n"
        for n, row in enumerate(ROWS)
    )
    (tmp_path / "in.jsonl").write_text("".join(requests))
    return Program(folder=tmp_path)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


RUN = ("run", "in.jsonl", "--sandbox", "-o", "out.csv", "--no-stdout", "--progress", "plain")


def test_a_run_ends_with_a_table_and_says_where(program: Program) -> None:
    done = program.run(*RUN)
    assert done.returncode == 0, done.stderr.decode()
    assert b"table     out.csv" in done.stderr
    read = rows_of(program.folder / "out.csv")
    assert [row["prompt"] for row in read] == [row["prompt"] for row in ROWS]
    assert {row["answer_status"] for row in read} == {"succeeded"}
    assert all(row["answer"].startswith("[sandbox") for row in read)


def test_the_table_stands_for_its_results(program: Program) -> None:
    assert program.run(*RUN).returncode == 0
    again = program.run("results", "out.csv", "-o", "again.tsv")
    assert again.returncode == 0, again.stderr.decode()
    assert (program.folder / "again.tsv").read_bytes().count(b"\t") > 30
    lines = program.run("results", "out.csv", "-o", "again.jsonl", "--ordered")
    assert lines.returncode == 0, lines.stderr.decode()
    written = (program.folder / "again.jsonl").read_text()
    ids = [json.loads(line)["custom_id"] for line in written.splitlines()]
    assert ids == ["r0", "r1", "r2"]
    assert program.run("status", "out.csv").returncode == 0
    assert program.run("resume", "out.csv", "--no-stdout").returncode == 0


def test_a_table_replaces_nothing_but_itself(program: Program) -> None:
    out = program.folder / "out.csv"
    out.write_text("mine\n")
    refused = program.run(*RUN)
    assert (refused.returncode, out.read_text()) == (2, "mine\n")
    assert b"-o FILE" in refused.stderr
    assert not (program.folder / "out.csv.results.jsonl").exists()
    fresh = program.run(*RUN, "--fresh")
    assert fresh.returncode == 0, fresh.stderr.decode()
    (aside,) = program.folder.glob("out.csv.2*")
    assert aside.read_text() == "mine\n"
    out.write_bytes(out.read_bytes() + b"edited\n")
    edited = program.run("resume", "out.csv", "--no-stdout")
    assert (edited.returncode, program.run(*RUN).returncode) == (2, 2)
    assert out.read_bytes().endswith(b"edited\n")
    (move,) = re.findall(r"mv [^,]*", edited.stderr.decode())
    assert program.shell(f"{move} && claude-batch resume out.csv --no-stdout").returncode == 0
    assert (program.folder / "out.mine.csv").read_bytes().endswith(b"edited\n")
    assert not out.read_bytes().endswith(b"edited\n")


def test_an_input_is_never_replaced(program: Program) -> None:
    (program.folder / "in.csv").write_text('"Say one."\n"Say two."\n')
    command = ("run", "in.csv", "--sandbox", "-o", "in.csv", "--no-stdout", "--fresh")
    refused = program.run(*command)
    assert refused.returncode == 2
    assert b"is an input" in refused.stderr
    assert (program.folder / "in.csv").read_text() == '"Say one."\n"Say two."\n'


def test_a_table_that_was_lost_is_written_again(program: Program) -> None:
    assert program.run(*RUN).returncode == 0
    out = program.folder / "out.csv"
    before = out.read_bytes()
    out.unlink()
    assert program.run(*RUN).returncode == 0
    assert out.read_bytes() == before


def test_an_answer_column_of_the_input_is_refused_before_anything_is_sent(program: Program) -> None:
    line = {"custom_id": "a", "params": {"messages": [{"role": "user", "content": "Hi"}]},
            "meta": {"answer": "gold"}}  # fmt: skip
    (program.folder / "in.jsonl").write_text(json.dumps(line) + "\n")
    refused = program.run(*RUN)
    assert refused.returncode == 2
    assert b"--answer-column claude_answer" in refused.stderr
    again = program.run(*RUN, "--answer-column", "claude_answer")
    assert again.returncode == 0, again.stderr.decode()
    (row,) = rows_of(program.folder / "out.csv")
    assert (row["answer"], row["claude_answer_status"]) == ("gold", "succeeded")


def test_an_interrupted_run_leaves_a_table_of_what_is_done(tmp_path: Path) -> None:
    lines = (json.dumps({"prompt": f"Say {n}."}) + "\n" for n in range(400))
    (tmp_path / "in.jsonl").write_text("".join(lines))
    out = tmp_path / "out.csv"
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        arguments = ("run", "in.jsonl", "-o", "out.csv", "--no-stdout", "--progress", "none")
        process = program.start(*arguments, "--rpm", "1200")
        results = tmp_path / "out.csv.results.jsonl"
        wait_for(lambda: results.exists() and results.stat().st_size > 1_000)
        process.send_signal(signal.SIGINT)
        process.communicate()
        read = rows_of(out)
        done = program.run("resume", "out.csv", "--rpm", "none", "--no-stdout")
    assert process.returncode == 130
    statuses = [row["answer_status"] for row in read]
    assert len(read) == 400
    assert 0 < statuses.count("succeeded") < 400
    assert done.returncode == 0, done.stderr.decode()
    assert [row["prompt"] for row in rows_of(out)] == [f"Say {n}." for n in range(400)]
    assert {row["answer_status"] for row in rows_of(out)} == {"succeeded"}


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.long)])
def test_kills_leave_a_table_with_every_row_once(tmp_path: Path, kills: int) -> None:
    with served(tmp_path, QUICK) as sandbox:
        program = Program(folder=tmp_path, variables=sandbox.variables)
        cost = killed_again_and_again(
            program, sandbox, prompts=50 * kills, kills=kills, flags=("--rpm", "2400"), out="t.csv"
        )
    assert (cost.exit_code, cost.lost, cost.doubled) == (0, 0, 0)
    read = rows_of(tmp_path / "t.csv")
    assert [row["prompt"] for row in read] == [f"Say the number {n}." for n in range(50 * kills)]
    assert {row["answer_status"] for row in read} == {"succeeded"}


@pytest.mark.parametrize(
    ("header", "typed", "delimiter"),
    [
        ("Kunde;Betrag", (), ";"),
        ("Kunde,Betrag", (), ","),
        ('Kunde;"Betrag, EUR"', ("--delimiter", ";"), ";"),
    ],
)
def test_a_table_has_the_delimiter_of_its_input(
    program: Program, header: str, typed: tuple[str, ...], delimiter: str
) -> None:
    rows = f'{header}\n"Ann; Bo, Cy"{delimiter}"1,5"\n'
    (program.folder / "in.csv").write_text(rows)
    order = ("in.csv", "--prompt", "Greet {{Kunde}}", "--sandbox", "--no-stdout", *typed)
    done = program.run("run", *order, "-o", "out.csv")
    assert done.returncode == 0, done.stderr.decode()
    assert program.run("results", "out.csv", "-o", "copy.csv").returncode == 0
    assert program.run("results", "out.csv", "-o", "copy.tsv").returncode == 0
    for name, cells in (("out.csv", delimiter), ("copy.csv", delimiter), ("copy.tsv", "\t")):
        text = (program.folder / name).read_text()
        head, row = csv.reader(text.splitlines(), delimiter=cells)
        assert (head[2:4], row[:2]) == (["answer", "answer_status"], ["Ann; Bo, Cy", "1,5"])
        assert row[3] == "succeeded"
