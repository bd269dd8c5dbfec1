"""Files that prompts name, read as base64 when a request is sent or packed, a piece at a time.

Until then the body of a request has, in place of the data, where the file is and what it was like
when the line was read: `{"type": "path", "path": ..., "media_type": ..., "size": ...,
"mtime_ns": ...}` (storage/prompts/attached.py writes it). A file that was changed since is never
sent: what was checked, estimated and looked up in the cache is what the API gets.
"""

from __future__ import annotations

import os
import time
from binascii import b2a_base64
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from claude_batch.core.model.requests import Failure, FailureKind
from claude_batch.errors import UsageError
from claude_batch.storage.daemon import in_daemon
from claude_batch.storage.files import BLOCK, open_to_read

PATH = "path"
"""The type of a source that is a file here; the API has no such type."""

_MARK = b'"type":"path"'
"""What is in a body that has such a source, and in few others."""

_GAP = b"\0"
"""Stands for the data while a body is written: JSON has no such byte."""

_PIECE = 96 * 1024
"""Bytes of a file that are read at once: a multiple of 3, so that their base64 can be joined.
Small, because each request in flight may hold a few."""

_AGAIN = "run the same command again with --retry-errored to send it as it is now"


class AttachmentError(UsageError):
    """A file that a prompt names cannot be read, or is not what was checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file as it was when its line was read; `error` is why it could not be read then."""

    path: str
    media_type: str = ""
    size: int = 0
    mtime_ns: int = 0
    error: str = ""

    @classmethod
    def of(cls, source: dict[str, Any]) -> Attachment:
        """Return the file that a source names."""
        return cls(
            path=source["path"],
            media_type=source.get("media_type", ""),
            size=source.get("size", 0),
            mtime_ns=source.get("mtime_ns", 0),
            error=source.get("error", ""),
        )

    @property
    def encoded_size(self) -> int:
        """Its length as base64."""
        return -(-self.size // 3) * 4

    def refuse_changed(self, since_ns: int | None) -> None:
        """Raise AttachmentError if it cannot be read as it was, or was changed after `since_ns`."""
        if self.error:
            raise AttachmentError(f"{self.path} {self.error}", hint=_AGAIN)
        try:
            with open_to_read(Path(self.path)) as file:
                stat = os.fstat(file.fileno())
        except OSError as error:
            raise AttachmentError(
                f"{self.path} cannot be read: {error.strerror}", hint=_AGAIN
            ) from error
        self._refuse(stat, since_ns)

    def _refuse(self, stat: os.stat_result, since_ns: int | None) -> None:
        changed = (stat.st_size, stat.st_mtime_ns) != (self.size, self.mtime_ns)
        # a time in the future is a wrong clock, not a change
        later = since_ns is not None and since_ns < stat.st_mtime_ns <= time.time_ns()
        if changed or later:
            raise AttachmentError(f"{self.path} was changed after the check: not sent", hint=_AGAIN)

    def blocks(self, size: int = _PIECE) -> Iterator[bytes]:
        """Yield what is in the file. Raises AttachmentError if it is not as it was."""
        try:
            with open_to_read(Path(self.path)) as file:
                self._refuse(os.fstat(file.fileno()), None)
                yield from self._blocks(file, size)
        except OSError as error:
            raise AttachmentError(
                f"{self.path} cannot be read: {error.strerror}", hint=_AGAIN
            ) from error

    def _blocks(self, file: BinaryIO, size: int) -> Iterator[bytes]:
        read = 0
        while read < self.size:
            block = file.read(min(size, self.size - read))
            if not block:
                raise AttachmentError(f"{self.path} became shorter: not sent", hint=_AGAIN)
            read += len(block)
            yield block


class AttachedBody:
    """A body whose files are read while it is written: bytes, files, bytes, ..."""

    def __init__(self, parts: Sequence[bytes | Attachment]) -> None:
        self._parts = tuple(parts)
        self._size = sum(
            len(part) if isinstance(part, bytes) else part.encoded_size for part in self._parts
        )

    def __len__(self) -> int:
        return self._size

    def around(self, before: bytes, after: bytes) -> AttachedBody:
        """Return it between other bytes."""
        return AttachedBody((before, *self._parts, after))

    def blocks(self) -> Iterator[bytes]:
        """Yield it from the start, blocking. Raises AttachmentError."""
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                for block in part.blocks():
                    yield b2a_base64(block, newline=False)

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield it from the start, read in threads. Raises AttachmentError."""
        blocks = self.blocks()
        while block := await in_daemon(lambda: next(blocks, b"")):
            yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachments:
    """Where the files are that prompts name, and since when they must be unchanged.

    `prompts` is the name of the prompts file, for messages; paths are relative to `folder`.
    `since_ns` is when this command began, in nanoseconds since 1970.
    """

    prompts: str = "line"
    folder: Path = Path()
    since_ns: int | None = None

    async def encode(self, body: bytes, line: int) -> AttachedBody | Failure:
        """Return the body of a line with its files, to be read when it is sent.

        A file that cannot be read, or was changed, fails the request.
        """
        return await in_daemon(lambda: self._encode(body, line))

    def _encode(self, body: bytes, line: int) -> AttachedBody | Failure:
        params = orjson.loads(body)
        files = []
        for source in path_sources(params):
            file = Attachment.of(source)
            try:
                file.refuse_changed(self.since_ns)
            except AttachmentError as error:
                return _failure(f"{self.prompts}:{line}: {error.message}; {error.hint}")
            files.append(file)
            source.clear()
            source.update(type="base64", media_type=file.media_type, data=orjson.Fragment(b'"\0"'))
        texts = orjson.dumps(params).split(_GAP)
        parts: list[bytes | Attachment] = [texts[0]]
        for file, text in zip(files, texts[1:], strict=True):
            parts += file, text
        return AttachedBody(parts)


def _failure(message: str) -> Failure:
    error = {"type": "invalid_request_error", "message": message}
    return Failure(
        kind=FailureKind.REQUEST_REJECTED,
        error=orjson.dumps({"type": "error", "error": error, "request_id": None}),
        error_type="invalid_request_error",
        message=message,
        never_sent=True,
    )


def may_attach(body: bytes) -> bool:
    """Return whether a body may name files: certainly not, or probably."""
    return _MARK in body


def path_sources(params: Any) -> Iterator[dict[str, Any]]:
    """Yield the sources in Messages API params that are files, in order."""
    for block in content_blocks(params):
        source = block["source"]
        if source.get("type") == PATH:
            yield source


def content_blocks(params: Any) -> Iterator[dict[str, Any]]:
    """Yield the blocks with a source of Messages API params, which need not have been checked."""
    messages = params.get("messages")
    if isinstance(messages, list):
        for message in messages:
            if type(message) is dict and type(message.get("content")) is list:
                yield from _with_source(message["content"])


def described(params: dict[str, Any]) -> dict[str, Any]:
    """Return params as they are sent, with a word on each file in place of its base64."""
    for block in content_blocks(params):
        source = block["source"]
        if source.get("type") == PATH and "size" in source:
            what = f"({source['size']:,} bytes of {source['path']})"
            block["source"] = {
                "type": "base64",
                "media_type": source["media_type"],
                "data": what,
            }
    return params


def _with_source(blocks: list[Any]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        if type(block) is not dict:
            continue
        source = block.get("source")
        if type(source) is dict:
            yield block
        for holder in (block, source):  # tool results, and documents that are made of blocks
            if type(holder) is dict and type(holder.get("content")) is list:
                yield from _with_source(holder["content"])


def hashed(body: bytes) -> bytes:
    """Return a body with what is in its files, as a hash, in place of where they are.

    Equal bytes under other names give equal bodies. Of a file that has changed, the hash is of
    no use: its request fails when it is sent.
    """
    if not may_attach(body):
        return body
    params = orjson.loads(body)
    for source in path_sources(params):
        file = Attachment.of(source)
        try:
            digest = _digest(file)
        except AttachmentError:
            digest = f"{file.path} {file.size} {file.mtime_ns}"
        source.clear()
        source.update(type="file", media_type=file.media_type, blake2b=digest)
    return orjson.dumps(params)


@lru_cache(maxsize=4_096)  # prompts often ask several things of one file
def _digest(file: Attachment) -> str:
    if file.error:
        raise AttachmentError(file.error)
    digest = blake2b(digest_size=20)
    for block in file.blocks(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def newest_change(params: dict[str, Any]) -> float:
    """Return when the newest of the files was changed last, in seconds since 1970."""
    return max((source.get("mtime_ns", 0) for source in path_sources(params)), default=0) / 1e9
