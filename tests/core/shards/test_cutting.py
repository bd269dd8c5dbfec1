"""Files are cut at ends of lines, whatever blocks they are read in; nothing is lost or doubled."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.shards.cutting import Cutter, Piece


def cut(content: bytes, block: int, **limits: int) -> list[Piece]:
    cutter = Cutter(**limits)
    pieces = [
        piece
        for at in range(0, len(content), block)
        for piece in cutter.feed(content[at : at + block])
    ]
    return [*pieces, *cutter.finish()]


def test_a_piece_has_as_many_lines_as_asked_for() -> None:
    pieces = cut(b"a\nb\nc\nd\ne\n", 100, lines=2)
    assert [(each.start, each.end, each.first_line, each.lines) for each in pieces] == [
        (0, 4, 1, 2),
        (4, 8, 3, 2),
        (8, 10, 5, 1),
    ]


def test_a_last_line_without_a_newline_counts() -> None:
    assert [each.lines for each in cut(b"a\nb\nc", 2, lines=2)] == [2, 1]


def test_long_lines_end_a_piece_earlier() -> None:
    pieces = cut(b"aaaa\nbbbb\ncccc\n", 3, lines=100, most_bytes=6)
    assert [each.lines for each in pieces] == [2, 1]


def test_an_empty_file_has_no_piece() -> None:
    assert cut(b"", 1, lines=2) == []


@given(
    lines=st.lists(st.binary(max_size=6).map(lambda each: each.replace(b"\n", b".")), max_size=30),
    ending=st.sampled_from([b"", b"\n"]),
    block=st.integers(1, 20),
    most=st.integers(1, 5),
    most_bytes=st.integers(1, 20),
)
def test_pieces_are_the_file(
    lines: list[bytes], ending: bytes, block: int, most: int, most_bytes: int
) -> None:
    content = b"\n".join(lines) + (ending if lines else b"")
    pieces = cut(content, block, lines=most, most_bytes=most_bytes)
    parts = [content[each.start : each.end] for each in pieces]
    assert b"".join(parts) == content
    assert all(part.endswith(b"\n") for part in parts[:-1])
    for piece, part in zip(pieces, parts, strict=True):
        assert piece.sha256 == hashlib.sha256(part).hexdigest()
        assert piece.lines == part.count(b"\n") + (not part.endswith(b"\n")) <= most
        assert piece.first_line == content[: piece.start].count(b"\n") + 1
        assert b"\n" not in part[most_bytes - 1 : -1]
    assert pieces == cut(content, len(content) or 1, lines=most, most_bytes=most_bytes)
