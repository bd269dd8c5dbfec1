"""Objects are fetched no more often than needed, and read as local files are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_batch.config.options import Options
from claude_batch.core.shards.cutting import Piece
from claude_batch.errors import InvalidPromptsError, UsageError
from claude_batch.storage.folder import copies as module
from claude_batch.storage.folder.copies import Copies
from claude_batch.storage.folder.cutting import cut_input
from claude_batch.storage.folder.ids import ID_KEYS, FolderIds, IdReader
from claude_batch.storage.folder.inputs import Input, find_inputs
from claude_batch.storage.objects import fetching
from claude_batch.storage.objects.locations import Pinned
from claude_batch.storage.prompts.options import columns_of
from claude_batch.storage.tables.kinds import InputOptions
from tests.support.s3_server import S3Server, s3_server

pytestmark = pytest.mark.services

START = 200


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        running.make_bucket("bucket")
        yield running


@pytest.fixture
def fetched(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[list[int]]:
    """Yield the bytes that are fetched, call by call; objects are large from 200 bytes on."""
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module, "START_BYTES", START)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    calls: list[int] = []
    read = fetching.read_object

    def counted(url: str, pinned: Pinned, size: int) -> Iterator[bytes]:
        calls.append(size)
        return read(url, pinned, size)

    monkeypatch.setattr(fetching, "read_object", counted)
    yield calls
    assert list(tmp_path.iterdir()) == []


def stored(server: S3Server, name: str, content: bytes) -> Input:
    server.put("bucket", name, content)
    (found,) = find_inputs([f"s3://bucket/{name}"])
    return found


def look_at(source: Input) -> tuple[list[Piece], FolderIds]:
    """Cut an object in pieces of ten lines, and look at its ids."""
    how = InputOptions()
    with Copies(lambda *_: None, ID_KEYS) as copies:
        pieces = [
            each for each, _ in cut_input(source, how, copies, lines=10, progress=lambda _: None)
        ]
        reader = IdReader([source], copies, columns_of(Options()), how, lambda *_: None)
        ids = reader.plan()
        reader.refuse_repeated(ids)
    return pieces, ids


def test_lines_without_ids_are_fetched_once(server: S3Server, fetched: list[int]) -> None:
    content = b'{"prompt":"hello, this is a line"}\n' * 30
    pieces, _ = look_at(stored(server, "plain.jsonl", content))
    assert [each.first_line for each in pieces] == [1, 11, 21]
    assert fetched == [START, len(content)]


def test_a_table_without_ids_is_fetched_once(server: S3Server, fetched: list[int]) -> None:
    content = b"prompt,n\n" + b'"hello, this is a row",1\n' * 30
    pieces, _ = look_at(stored(server, "plain.csv", content))
    assert [each.lines for each in pieces] == [10, 10, 10]  # rows: no header
    assert fetched == [START, len(content)]


def test_ids_are_read_in_a_second_pass(server: S3Server, fetched: list[int]) -> None:
    content = b"".join(b'{"custom_id":"%d","prompt":"hello"}\n' % n for n in range(30))
    look_at(stored(server, "named.jsonl", content))
    assert fetched == [START, len(content), len(content)]
    twice = stored(server, "twice.jsonl", content + content[: content.index(b"\n") + 1])
    with pytest.raises(InvalidPromptsError, match=r"twice\.jsonl:31 has the id '0'"):
        look_at(twice)


def test_a_small_object_is_fetched_once_for_all(server: S3Server, fetched: list[int]) -> None:
    content = b'{"custom_id":"a","prompt":"hello"}\n'
    look_at(stored(server, "small.jsonl", content))
    assert fetched == [len(content)]


@pytest.mark.usefixtures("fetched")
def test_an_object_that_changes_meanwhile_is_refused(server: S3Server) -> None:
    found = stored(server, "changing.jsonl", b'"first"\n')
    server.put("bucket", "changing.jsonl", b'"other"\n')
    with pytest.raises(UsageError, match="has changed while it was read"):
        look_at(found)
