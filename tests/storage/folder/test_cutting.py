"""Files are cut where that is safe; what is not stays whole."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from claude_batch.errors import CheckpointMismatchError
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.cutting import cut_input, refuse_changed
from claude_batch.storage.folder.inputs import Input
from claude_batch.storage.tables.kinds import InputOptions

HERE = Copies(lambda *_: None)


def as_input(path: Path) -> Input:
    return Input(source=str(path), name=path.name, size=path.stat().st_size)


def cut(
    path: Path, content: bytes, lines: int = 2, encoding: str | None = None
) -> list[tuple[int, int, bool]]:
    path.write_bytes(content)
    options = InputOptions(encoding=encoding)
    pieces = cut_input(as_input(path), options, HERE, lines=lines, progress=lambda _: None)
    return [(piece.first_line, piece.lines, whole) for piece, whole in pieces]


def test_lines_are_cut(tmp_path: Path) -> None:
    assert cut(tmp_path / "a.jsonl", b'"a"\n"b"\n"c"\n') == [(1, 2, False), (3, 1, False)]


def test_a_short_file_is_whole(tmp_path: Path) -> None:
    assert cut(tmp_path / "a.jsonl", b'"a"\n"b"\n') == [(1, 2, True)]


def test_a_table_is_cut(tmp_path: Path) -> None:
    content = b'id,prompt\n1,"one, and ""two"""\n2,three\n3,four\n'
    assert cut(tmp_path / "a.csv", content) == [(2, 2, False), (4, 1, False)]


@pytest.mark.parametrize("lines", [2, 9])
def test_a_header_is_no_row(tmp_path: Path, lines: int) -> None:
    assert cut(tmp_path / "a.csv", b"prompt\none\ntwo\n", lines=lines) == [(2, 2, True)]
    assert cut(tmp_path / "a.csv", b"prompt\n", lines=lines) == []


@pytest.mark.parametrize(
    "content",
    [
        b'id,prompt\n1,"one\ntwo"\n2,three\n',
        b'id,prompt\n5" pipe,"one\ntwo"\n2,three\n',
        b'id,prompt\n1,"never closed\n2,three\n',
        b"id,prompt\r1,one\r2,two\r",
        b"id;prompt\n1;one\r2;two\n",
    ],
)
def test_a_table_whose_rows_are_no_lines_stays_whole(tmp_path: Path, content: bytes) -> None:
    assert cut(tmp_path / "a.csv", content, lines=1) == [(1, 0, True)]


def test_quotes_are_read_with_the_delimiter(tmp_path: Path) -> None:
    content = b'id;prompt\n1;"one\n2";three\n3;four\n'
    assert cut(tmp_path / "a.csv", content, lines=1) == [(1, 0, True)]


def test_a_compressed_file_stays_whole(tmp_path: Path) -> None:
    assert cut(tmp_path / "a.jsonl.gz", gzip.compress(b'"a"\n"b"\n"c"\n')) == [(1, 0, True)]


def test_json_stays_whole(tmp_path: Path) -> None:
    assert cut(tmp_path / "a.json", b'[\n"a",\n"b",\n"c"\n]\n') == [(1, 0, True)]


def test_another_encoding_stays_whole(tmp_path: Path) -> None:
    content = '"a"\n"b"\n"c"\n'.encode("utf-16")
    assert cut(tmp_path / "a.jsonl", content, encoding="utf-16") == [(1, 0, True)]


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", b""), ("a.csv", b"id,prompt\n")])
def test_a_file_without_rows_has_no_piece(tmp_path: Path, name: str, content: bytes) -> None:
    assert cut(tmp_path / name, content) == []


def test_a_shard_that_has_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'"a"\n"b"\n"c"\n')
    first, second = (
        piece
        for piece, _ in cut_input(
            as_input(path), InputOptions(), HERE, lines=2, progress=lambda _: None
        )
    )
    path.write_bytes(b'"a"\n"b"\n"C"\n')
    refuse_changed(path, first.start, first.end, first.sha256)
    with pytest.raises(CheckpointMismatchError, match="has changed"):
        refuse_changed(path, second.start, second.end, second.sha256)
