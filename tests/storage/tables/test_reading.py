"""Every kind of input as records: cells unchanged, the line where each begins, memory flat."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from claude_batch.errors import UsageError
from claude_batch.storage.tables.kinds import InputOptions
from claude_batch.storage.tables.reading import Bad, kind_of, open_records


def read(
    folder: Path, name: str, content: bytes, **options: Any
) -> tuple[tuple[str, ...] | None, list[tuple[int, Any]]]:
    path = folder / name
    path.write_bytes(content)
    how = InputOptions(**options)
    kind = kind_of(path, name, how)
    with open_records(path, name, kind, how) as found:
        return found.columns, list(found.records)


def refused(folder: Path, name: str, content: bytes, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(folder, name, content, **options)
    return caught.value


def test_cells_are_as_they_were_and_rows_are_where_they_begin(tmp_path: Path) -> None:
    raw = 'id,Customer Name,x\n1,"a ""b""\nc",=SUM(A1)\n\n2,é,\n'.encode()
    columns, records = read(tmp_path, "t.csv", raw)
    assert columns == ("id", "Customer Name", "x")
    assert records == [
        (2, {"id": "1", "Customer Name": 'a "b"\nc', "x": "=SUM(A1)"}),
        (5, {"id": "2", "Customer Name": "é", "x": ""}),
    ]


@pytest.mark.parametrize(
    ("name", "raw", "options"),
    [
        ("t.csv", b"\xef\xbb\xbfa,b\r\n1,2\r\n", {}),
        ("t.csv", b"a;b\n1;2\n", {}),
        ("t.csv", b"a\tb\n1\t2\n", {}),
        ("t.csv", b"a,b,,\n1,2,,\n", {}),
        ("t.tsv", b"a\tb\n1\t2\n", {}),
        ("t.dat", b"a^b\n1^2\n", {"format": "csv", "delimiter": "^"}),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), {"encoding": "utf-16"}),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0), {}),
        ("t.json", b'[{"a":"1","b":"2"}]', {}),
        ("t.json", b'\xef\xbb\xbf [\n {"a": "1",\n "b": "2"}\n]\n', {}),
        ("t.jsonl", b'[\n{"a":"1","b":"2"}]', {}),
        ("t.json", b'{"n": 1, "data": [{"a":"1","b":"2"}], "z": {}}', {"field": "data"}),
    ],
)
def test_the_same_rows_come_from_many_kinds_of_files(
    tmp_path: Path, name: str, raw: bytes, options: dict[str, Any]
) -> None:
    _, records = read(tmp_path, name, raw, **options)
    assert [row for _, row in records] == [{"a": "1", "b": "2"}]


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    columns, records = read(tmp_path, "t.csv", b"x,y\n", headers=False)
    assert columns == ("column_1", "column_2")
    assert records == [(1, {"column_1": "x", "column_2": "y"})]


def test_lines_of_a_text_are_prompts(tmp_path: Path) -> None:
    columns, records = read(tmp_path, "t.txt", b"one\r\n\n  \ntwo")
    assert columns == ("prompt",)
    assert records == [(1, {"prompt": "one"}), (4, {"prompt": "two"})]


def test_elements_of_an_array_have_lines_that_differ(tmp_path: Path) -> None:
    _, records = read(tmp_path, "t.json", b'[\n\n"a", "b",\n"c"]')
    assert records == [(3, "a"), (4, "b"), (5, "c")]


def test_an_array_larger_than_what_is_read_at_once(tmp_path: Path) -> None:
    values = [f'{{"n": {n}, "text": "{"x" * (n % 400) * 10}"}}' for n in range(500)]
    values[250] = '"' + "y" * 700_000 + '"'
    _, records = read(tmp_path, "t.json", ("[" + ",\n".join(values) + "]").encode())
    assert [line for line, _ in records] == list(range(1, 501))
    assert records[499][1]["n"] == 499
    assert len(records[250][1]) == 700_000


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"a,b\n1,2,3\n", "the row has 3 cells, the header has 2"),
        (b"a,b\n1\n", "the row has 1 cell, the header has 2"),
        (b'a,b\n1,"2\n', "a quote in this row is never closed"),
    ],
)
def test_a_row_that_does_not_fit_is_bad_and_the_others_stay(
    tmp_path: Path, raw: bytes, what: str
) -> None:
    _, records = read(tmp_path, "t.csv", b"a,b\n0,0\n" + raw.partition(b"\n")[2])
    assert records[0] == (2, {"a": "0", "b": "0"})
    line, bad = records[1]
    assert line == 3
    assert isinstance(bad, Bad)
    assert bad.what == what


def test_a_title_above_the_header_is_named_with_the_command_that_takes_it_off(
    tmp_path: Path,
) -> None:
    _, ((_, bad),) = read(tmp_path, "t.csv", b"All tickets\n\nid,text\n")
    assert bad.remedy.endswith("if line 1 is a title: tail -n +3 t.csv > table.csv")


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b'[{"a":1,"a":2}]', "the key 'a' is there twice"),
        (b'[{"a":[{"b":36893488147419103232}]}]', "36893488147419103232"),
    ],
)
def test_what_would_be_lost_is_no_value(tmp_path: Path, raw: bytes, what: str) -> None:
    _, ((_, value),) = read(tmp_path, "t.json", raw)
    assert what in repr(value)


@pytest.mark.parametrize(
    ("name", "raw", "options", "what", "hint"),
    [
        ("t.csv", b"a,a\n1,2\n", {}, "the column 'a' is there twice", "--no-headers"),
        ("t.csv", b"a\ncaf\xe9\n", {}, "is not UTF-8: it has a byte 0xe9", "--encoding cp1252"),
        ("t.csv", b"a\n1\n", {"encoding": "nope"}, "no such encoding", "cp1252"),
        ("t.csv", b"a\n1\n", {"delimiter": "::"}, "--delimiter must be one", "';'"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), {}, "is UTF-16", "--encoding utf-16"),
        ("t.csv", "a,b\n1,2\n1,2\n".encode("utf-16-le"), {}, "is UTF-16", "--encoding utf-16"),
        ("t.jsonl", b"a,b\n1,2\n", {}, "looks like CSV, not JSONL", "--input-format csv"),
        ("p", b'"prompt"\n"How?"\n', {}, "looks like CSV", "--input-format csv"),
        ("t", b"a\tb\n1\t2\n", {}, "looks like TSV", "--input-format tsv"),
        ("t.json", b'{\n"n": 1, "rows": [{}]}', {}, "arrays under rows", "--field rows"),
        ("t.json", b'{\n"rows": [{}]}', {"field": "row"}, "'row' is not there", "--field rows"),
        ("t.json", b'{\n"rows": {}}', {"field": "rows"}, "'rows' is no array", "array"),
        ("t.json", b'{\n"a": 1}', {}, "one JSON object over several lines", "jq -c ."),
        ("t.json", b"[1] 2", {}, "there is more after the array", "jsonl"),
        ("t.json", b'[\n{"a" 1}]', {}, "t.json:2: not JSON", "correct it"),
        ("t.json", b'[{"a": 1}, {"b', {}, "not JSON", "correct it"),
        ("t.csv", b"a\n1\n", {"field": "x"}, "--field is for JSON", "leave --field out"),
        (
            "t.csv.gz",
            gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9],
            {},
            "is damaged, or cut",
            "gzip -t",
        ),
        ("t.zip", b"PK\x03\x04" + b"\0" * 30, {}, "is a zip archive", "unzip -p t.zip"),
        ("t.parquet", b"a,b\n1,2\n", {}, "is no parquet file", "--input-format"),
        ("t.csv", b"version https://git-lfs.github.com/spec/v1\n", {}, "Git LFS", "git lfs pull"),
        ("t.csv", b"%PDF-1.7", {}, "is a PDF", "path"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_option_that_helps(
    tmp_path: Path, name: str, raw: bytes, options: dict[str, Any], what: str, hint: str
) -> None:
    error = refused(tmp_path, name, raw, **options)
    assert what in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("name", "content", "format_"),
    [
        ("p.txt", b'{"prompt": "x"}\n', "jsonl"),
        ("p.json", b'{"prompt": "x"}\n{"prompt": "y"}\n', "jsonl"),
        ("p.json", b'{"prompt": "x"}', "jsonl"),
        ("p.txt", b"hello\n", "txt"),
        ("p", b'"x"\n', "jsonl"),
        ("p", b"Translate this, please\n", "jsonl"),
        ("p", b' [ "x" ]', "json"),
        ("p.jsonl", b"PAR1\x15", "parquet"),
    ],
)
def test_the_content_decides_where_the_name_does_not(
    tmp_path: Path, name: str, content: bytes, format_: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name, name, InputOptions()).format == format_
