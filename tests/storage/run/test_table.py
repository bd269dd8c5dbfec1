"""A run as a table: every row of the input once, in its order, with its own answer."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from claude_batch.core.model.requests import ResultType
from claude_batch.errors import CheckpointWriteError, UsageError
from claude_batch.storage.run.results import encode_result
from claude_batch.storage.run.table import (
    InputRows,
    RunRows,
    RunTable,
    TableRequest,
    refuse_own_columns,
    write_table,
)
from tests.storage.run.test_results import a_result


def message(text: str) -> bytes:
    return orjson.dumps(
        {
            "type": "message",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 5},
        }
    )


def a_line(line: int, text: str, custom_id: str | None = None) -> bytes:
    return encode_result(
        replace(
            a_result(line),
            custom_id=custom_id or f"line-{line}",
            payload=message(text),
            cost_usd=0.25,
        )
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def table(folder: Path, rows: list[Any], results: list[bytes], **request: Any) -> RunTable:
    """Return a run with these input lines and result lines, as a table t.csv."""
    (folder / "in.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    (folder / "r.jsonl").write_bytes(b"".join(results))
    return RunTable(
        request=TableRequest(path=folder / "t.csv", **request),
        runs=(RunRows(rows=InputRows(path=folder / "in.jsonl"), results=folder / "r.jsonl"),),
        named=folder / "r.jsonl",
    )


def cells(of: RunTable) -> list[dict[str, str]]:
    file = io.BytesIO()
    of.write(file)
    return list(csv.DictReader(io.StringIO(file.getvalue().decode(), newline="")))


def test_answers_stand_beside_their_rows_in_the_order_of_the_input(folder: Path) -> None:
    rows = [{"prompt": f"row {n}", "n": n} for n in range(1, 51)]
    lines = [a_line(n, f"answer {n}") for n in range(1, 51)]
    random.Random(1).shuffle(lines)
    read = cells(table(folder, rows, lines))
    assert [(row["n"], row["answer"]) for row in read] == [
        (str(n), f"answer {n}") for n in range(1, 51)
    ]
    assert list(read[0]) == [
        "prompt", "n", "answer", "answer_status", "answer_error", "answer_stop_reason",
        "answer_input_tokens", "answer_output_tokens", "answer_cost_usd",
    ]  # fmt: skip
    assert [*read[0].values()][3:] == ["succeeded", "", "end_turn", "5", "5", "0.25"]


def test_rows_without_an_answer_say_why(folder: Path) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    failed = replace(
        a_result(1, ResultType.ERRORED), custom_id="line-1", payload=orjson.dumps(error)
    )
    expired = replace(a_result(2, ResultType.EXPIRED), custom_id="line-2", payload=b"")
    of = table(
        folder,
        [{"prompt": "a"}, {"prompt": "b"}, {"prompt": ""}, {"prompt": "d"}],
        [encode_result(failed), encode_result(expired)],
    )
    read = cells(replace(of, runs=(replace(of.runs[0], left_out={3: "the prompt is empty"}),)))
    assert [(row["answer_status"], row["answer_error"]) for row in read] == [
        ("errored", "invalid_request_error: no"),
        ("expired", ""),
        ("invalid", "the prompt is empty"),
        ("", ""),
    ]


def test_a_request_shows_its_id_and_its_meta(folder: Path) -> None:
    request = {
        "custom_id": "q",
        "params": {"messages": [{"role": "user", "content": "hi"}]},
        "meta": {"model": "iPhone 14", "ticket-id": 7},
    }
    (row,) = cells(table(folder, [request], [a_line(1, "yes", "q")]))
    assert [*row.items()][:4] == [
        ("custom_id", "q"), ("model", "iPhone 14"), ("ticket-id", "7"), ("answer", "yes"),
    ]  # fmt: skip


def test_what_an_answer_says_does_not_move_it_to_another_row(folder: Path) -> None:
    tricky = '{"custom_id":"x"},"meta":{"line":2,"attempts":1}'
    block = {"type": "tool_use", "input": {"a": {}, "meta": {"line": 2}}}
    raw = orjson.loads(a_line(1, tricky))
    raw["result"]["message"]["content"].append(block)
    del raw["meta"]["line"]
    lines = [orjson.dumps(raw) + b"\n", a_line(2, "second")]
    read = cells(table(folder, [{"prompt": "a"}, {"prompt": "b"}], lines))
    assert [row["answer"] for row in read] == [tricky, "second"]


def test_results_that_name_no_line_are_found_by_their_id(folder: Path) -> None:
    lines = []
    for number, custom_id in ((1, "a"), (2, "line-2")):
        value = orjson.loads(a_line(number, f"answer {number}", custom_id))
        del value["meta"]
        lines.append(orjson.dumps(value) + b"\n")
    read = cells(table(folder, [{"custom_id": "a", "prompt": "p"}, {"prompt": "q"}], lines))
    assert [row["answer"] for row in read] == ["answer 1", "answer 2"]


def test_json_answers_become_columns(folder: Path) -> None:
    lines = [a_line(1, '{"label":"spam","status":1,"tags":["a"]}'), a_line(2, "no JSON")]
    read = cells(table(folder, [{"prompt": "a"}, {"prompt": "b"}], lines, expand=True))
    added = [[row[name] for name in [*row][-3:]] for row in read]
    assert [*read[0]][-3:] == ["answer_label", "answer_property_status", "answer_tags"]
    assert added == [["spam", "1", '["a"]'], ["", "", ""]]


def test_rows_of_several_files_name_theirs(folder: Path) -> None:
    lines = [a_line(1, '{"file":"mine"}')]
    of = table(folder, [{"prompt": "a"}], lines, expand=True, has_file=True)
    (run,) = of.runs
    other = replace(run, file="b/2.jsonl")
    both = cells(replace(of, runs=(replace(run, file="a/1.jsonl"), other)))
    assert [row["answer_file"] for row in both] == ["a/1.jsonl", "b/2.jsonl"]
    assert [row["answer_property_file"] for row in both] == ["mine", "mine"]
    with pytest.raises(UsageError, match="'answer_file'"):
        refuse_own_columns(["answer_file"], of.request, "")


def test_a_sheet_says_what_it_had_to_cut(folder: Path) -> None:
    calamine = pytest.importorskip("python_calamine")
    of = table(folder, [{"prompt": "a"}], [a_line(1, "x" * 40_000)])
    of = replace(of, request=replace(of.request, path=folder / "t.xlsx"))
    write_table(of, before_rename=lambda _: None)
    (row,) = calamine.load_workbook(folder / "t.xlsx").get_sheet_by_index(0).to_python()[1:]
    assert len(row[1]) == 32_767
    assert "is cut" in row[3]


def test_without_prompts_the_table_shows_what_results_keep(folder: Path) -> None:
    of = table(folder, [], [a_line(2, "b"), a_line(1, "a")])
    of = replace(of, runs=(replace(of.runs[0], rows=InputRows(path=None)),))
    assert [(row["custom_id"], row["topic"], row["answer"]) for row in cells(of)] == [
        ("line-1", "x", "a"),
        ("line-2", "x", "b"),
    ]


@pytest.mark.parametrize(
    "typed", ["", " --answer-column answer", " --answer-column=answer", " --answer-column 'an s'"]
)
def test_a_column_that_is_there_already_is_an_error_with_a_command_that_works(typed: str) -> None:
    request = TableRequest(path=Path("t.csv"))
    command = f"claude-batch run t.csv{typed} -o o.csv"
    with pytest.raises(UsageError, match="'answer_status'") as caught:
        refuse_own_columns(["text", "answer_status"], request, command)
    assert caught.value.hint.endswith("run t.csv -o o.csv --answer-column claude_answer")
    refuse_own_columns(["answer_status"], replace(request, prefix="claude_answer"), "")


def test_a_table_is_written_whole_or_not_at_all(folder: Path) -> None:
    of = table(folder, [{"prompt": "a"}], [a_line(1, "x")])

    def fail(_: object) -> None:
        raise CheckpointWriteError("the journal is full")

    with pytest.raises(CheckpointWriteError):
        write_table(of, before_rename=fail)
    assert sorted(each.name for each in folder.iterdir()) == ["in.jsonl", "r.jsonl"]


def test_a_table_in_a_folder_that_is_missing_says_how_to_make_it(folder: Path) -> None:
    of = table(folder, [{"prompt": "a"}], [a_line(1, "x")])
    path = folder / "new one/all.csv"
    with pytest.raises(CheckpointWriteError) as caught:
        write_table(replace(of, request=replace(of.request, path=path)), before_rename=print)
    assert caught.value.hint.startswith(f"mkdir -p '{path.parent}', then")
    assert caught.value.hint.endswith(f"-o '{path}'")


def test_data_beside_messages_is_shown(folder: Path) -> None:
    row = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "topic": "x"}
    (read,) = cells(table(folder, [row], [a_line(1, "yes")]))
    assert [*read.items()][:3] == [("custom_id", "line-1"), ("topic", "x"), ("answer", "yes")]
