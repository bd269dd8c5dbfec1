"""A part of a file is read as it would be in the whole: the same rows, the same line numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.storage.prompts.check import check
from claude_batch.storage.prompts.columns import Columns
from claude_batch.storage.prompts.input import rereadable
from claude_batch.storage.prompts.parse import InvalidLine
from claude_batch.storage.prompts.reading import read_requests
from claude_batch.storage.prompts.shapes import Defaults
from claude_batch.storage.tables.kinds import InputOptions, Part

COLUMNS = Columns(id_prefix="a.jsonl:")


def part_of(content: bytes, first: int, lines: int) -> Part:
    """Return the part of a content that begins with line `first` and has `lines` lines."""
    ends = [0, *(at + 1 for at, byte in enumerate(content) if byte == 10)]
    return Part(start=ends[first - 1], end=ends[first - 1 + lines], first_line=first)


def read(
    path: Path, part: Part, columns: Columns = COLUMNS, options: InputOptions | None = None
) -> list[tuple[str, int, bytes]]:
    defaults = Defaults(catalog=BUNDLED, columns=columns)
    with rereadable(str(path), path.with_suffix(".copy"), options or InputOptions(), part) as copy:
        requests = read_requests(copy, defaults, estimated=False)
        return [(each.custom_id, each.line, each.body) for each in requests]


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    content = b'"one"\n\n{"custom_id":"x","prompt":"three"}\r\n"four"\n"five"\n'
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    found = read(path, part_of(content, 2, 3))
    assert [(name, line) for name, line, _ in found] == [("x", 3), ("a.jsonl:4", 4)]
    assert b'"three"' in found[0][2]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_rows_of_a_table_are_read_below_its_header(tmp_path: Path, name: str) -> None:
    tab = b"," if name == "a.csv" else b"\t"
    content = b"\xef\xbb\xbfid,prompt\n1,one\n2,two\n3,three\n".replace(b",", tab)
    path = tmp_path / name
    path.write_bytes(content)
    columns = Columns(id_prefix="a:", ids=("custom_id", "id"))
    found = read(path, part_of(content, 3, 2), columns)
    assert [(each, line) for each, line, _ in found] == [("2", 3), ("3", 4)]
    assert b"three" in found[1][2]


def test_the_first_part_of_a_table_has_its_header(tmp_path: Path) -> None:
    content = b"id,prompt\n1,one\n2,two\n"
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    found = read(path, part_of(content, 1, 2), Columns(id_prefix="a:"))
    assert [(each, line) for each, line, _ in found] == [("a:2", 2)]


def test_a_table_without_a_header_loses_no_row(tmp_path: Path) -> None:
    content = b"one;1\ntwo;2\nthree;3\n"
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    columns = Columns(prompt_column="column_1", id_prefix="a:")
    found = read(path, part_of(content, 2, 2), columns, InputOptions(headers=False))
    assert [line for _, line, _ in found] == [2, 3]
    assert b'"two"' in found[0][2]


def test_text_is_read_line_by_line(tmp_path: Path) -> None:
    content = b"one\ntwo\nthree\n"
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert [(each, line) for each, line, _ in read(path, part_of(content, 2, 2))] == [
        ("a.jsonl:2", 2),
        ("a.jsonl:3", 3),
    ]


def test_bad_lines_are_found_under_their_numbers(tmp_path: Path) -> None:
    content = b'"one"\n{"prompt":\n{"prompt":"a","prompt":"b"}\n"four"\n'
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    bad: list[InvalidLine] = []
    part = part_of(content, 2, 3)
    with rereadable(str(path), tmp_path / "copy", InputOptions(), part) as copy:
        check(copy, Defaults(catalog=BUNDLED, columns=COLUMNS), note=bad.append)
    assert [each.line for each in bad] == [2, 3]
    assert "is there twice" in bad[1].what
