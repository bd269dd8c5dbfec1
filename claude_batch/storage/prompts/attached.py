"""Files that a line names: found, looked at, and refused if the API would refuse them.

`"source": {"type": "path", "path": "scan.png"}` in an image or a document names a file, relative to
the prompts file. Only the first bytes are read here (of a PDF, the last ones, too).
Source: docs/claude-api.md#images-and-documents.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from claude_batch.core.catalog.catalog import BUNDLED
from claude_batch.core.tokens.images import PDF, image_size, media_type, pdf_pages
from claude_batch.storage.attachments import PATH, Attachments, content_blocks
from claude_batch.storage.files import open_to_read
from claude_batch.storage.prompts.lines import MOST_BYTES
from claude_batch.storage.prompts.params import BadPromptError, quoted

MOST_IMAGE_BYTES = 7_500_000
"""Bytes of an image: at most 10 MB as base64."""

MOST_PIXELS, MOST_PIXELS_OF_MANY, MANY = 8_000, 2_000, 20
"""Pixels on an edge; fewer in a request with more than `MANY` images."""

MOST_IMAGES = MOST_PAGES = 600
MOST_IN_SMALL_CONTEXT = 100
"""Images, and pages of a PDF, in one request; fewer for models with 200,000 tokens of context."""

_LARGE_CONTEXT = 1_000_000
_HEAD = 1 << 16
"""Bytes in which a picture says its size, unless a JPEG has much metadata."""
_PDF_END = 1 << 18
"""Bytes at each end of a PDF in which its pages are counted."""
_PDF_PAGE_BYTES = 60_000
_BY_CONTENT = "attachment"
"""The type of a block until its file has been looked at."""
_KEYS = frozenset({"type", "path", "media_type"})


class _FileError(Exception):
    """What is wrong with a file, and what to do."""


def attach(params: dict[str, Any], attachments: Attachments) -> bool:
    """Put what files are like into the sources that name them; return whether there is one.

    What is wrong with a file is put there, too: `refuse_attachments` says it while a file of
    prompts is checked; later it fails only that request.
    """
    found = False
    for block in content_blocks(params):
        source = block["source"]
        if source.get("type") == PATH:
            found = True
            given = source.copy()
            kind = block.get("type")
            if kind == _BY_CONTENT:
                block["type"] = "image"
            source.clear()
            source["type"] = PATH
            try:
                source |= _facts(given, kind, attachments.folder)
                if kind == _BY_CONTENT and source["media_type"] == PDF:
                    block["type"] = "document"
            except _FileError as error:
                source |= {"path": str(given.get("path")), "error": error.args[0]}
                source["remedy"] = error.args[1]
    return found


def attach_columns(params: dict[str, Any], row: Mapping[str, Any], columns: Iterable[str]) -> None:
    """Put what the columns of a row name before the text of the last message of the user.

    Empty cells name nothing. Raises BadPromptError for a cell that is no text.
    """
    blocks = []
    for name in columns:
        cell = row.get(name)
        if cell is None or cell == "":
            continue
        if not isinstance(cell, str):
            raise BadPromptError(
                f"column {quoted(name)} must be a path or a URL", "one picture or PDF per cell"
            )
        blocks.append(_block(cell.strip()))
    messages = params.get("messages")
    if not blocks or not isinstance(messages, list):
        return
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            texts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            if isinstance(texts, list):
                message["content"] = [*blocks, *texts]
            return


def _block(cell: str) -> dict[str, Any]:
    if not cell.lower().startswith(("http://", "https://")):
        return {"type": _BY_CONTENT, "source": {"type": PATH, "path": cell}}
    is_pdf = urlsplit(cell).path.lower().endswith(".pdf")
    source = {"type": "url", "url": cell}
    return {"type": "document" if is_pdf else "image", "source": source}


def _facts(source: dict[str, Any], kind: object, folder: Path) -> dict[str, Any]:
    name = source.get("path")
    if not isinstance(name, str) or not name:
        raise _FileError("has no name", 'write "source": {"type": "path", "path": "scan.png"}')
    if extra := source.keys() - _KEYS:
        raise _FileError(
            f"has an unknown key {quoted(min(extra))} in its source",
            'write "source": {"type": "path", "path": "scan.png"}',
        )
    path = folder / name
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            what = "is a folder" if stat.S_ISDIR(info.st_mode) else "is no regular file"
            raise _FileError(what, "name a picture or a PDF")
        found = _look(str(path), info.st_size, info.st_mtime_ns)
    except FileNotFoundError:
        raise _FileError("does not exist", _where(name, folder)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise _FileError(f"cannot be read: {why}", "see that you may read it") from None
    _refuse_kind(found["media_type"], kind)
    return {"path": str(path), "size": info.st_size, "mtime_ns": info.st_mtime_ns, **found}


def _where(name: str, folder: Path) -> str:
    if name.startswith(("http://", "https://", "data:")):
        return 'for a URL write "source": {"type": "url", "url": "https://..."}'
    return f"paths are relative to the folder of the prompts: {folder.absolute()}"


def _refuse_kind(media: str, kind: object) -> None:
    """Refuse a PDF in an image block, and a picture in a document block."""
    fits = "document" if media == PDF else "image"
    if kind not in {fits, _BY_CONTENT}:
        what = "a PDF" if media == PDF else f"a picture ({media})"
        raise _FileError(
            f"is {what}, but its block is of type {quoted(kind)}", f'write "type": "{fits}"'
        )


@lru_cache(maxsize=4_096)  # prompts often ask several things of one file; it is read twice anyway
def _look(path: str, size: int, _mtime_ns: int) -> dict[str, Any]:
    """Return the type of a file by its content, and its pixels or pages. Raises OSError."""
    with open_to_read(Path(path)) as file:
        head = file.read(_HEAD)
        media = media_type(head)
        if media is None:
            what = "is empty" if not size else "is neither a picture (PNG, JPEG, GIF, WebP) nor PDF"
            raise _FileError(what, "convert it to one of them")
        if media == PDF:
            if size > _HEAD:
                head += file.read(_PDF_END - _HEAD)
                file.seek(max(file.tell(), size - _PDF_END))
                head += file.read(_PDF_END)
            pages = pdf_pages(head) or 1 + size // _PDF_PAGE_BYTES
            return {"media_type": media, "pages": pages}
        if size > MOST_IMAGE_BYTES:
            raise _FileError(
                f"has {size / 1e6:.1f} MB: the API takes images up to 10 MB as base64, which is "
                f"{MOST_IMAGE_BYTES / 1e6:.1f} MB as a file",
                "scale it down: no more than 2,576 pixels on the long edge are used anyway",
            )
        pixels = image_size(head)
        if pixels is None and size > _HEAD:
            pixels = image_size(head + file.read())
    if pixels is None:
        raise _FileError(f"begins like {media}, but has no size: is it cut off?", "replace it")
    return {"media_type": media, "width": pixels[0], "height": pixels[1]}


def refuse_attachments(params: dict[str, Any], line_bytes: int) -> None:
    """Refuse files that cannot be read, and what the API refuses of them. Raises BadPromptError."""
    images, pages, size = 0, 0, line_bytes
    sources = []
    for block in content_blocks(params):
        images += block.get("type") == "image"
        source = block["source"]
        if source.get("type") == PATH:
            if "error" in source:
                raise BadPromptError(f"{_name(source)} {source['error']}", source["remedy"])
            sources.append(source)
            pages += source.get("pages", 0)
            size += -(-source["size"] // 3) * 4
    _refuse_many(params["model"], images, pages)
    if size > MOST_BYTES:
        raise BadPromptError(
            f"{_name(max(sources, key=lambda each: each['size']))} is too large: with its files as "
            f"base64 the request would have {size / 1e6:.0f} MB",
            f"the API takes {MOST_BYTES // 1_000_000} MB: attach fewer or smaller files",
        )
    most = MOST_PIXELS_OF_MANY if images > MANY else MOST_PIXELS
    for source in sources:
        width, height = source.get("width", 0), source.get("height", 0)
        if max(width, height) > most:
            many = f" in a request with more than {MANY} images" if images > MANY else ""
            raise BadPromptError(
                f"{_name(source)} has {width:,} x {height:,} pixels",
                f"the API takes at most {most:,} on each edge{many}: scale it down",
            )


def _refuse_many(model: object, images: int, pages: int) -> None:
    card = BUNDLED.card(model) if isinstance(model, str) else None
    is_small = card is not None and card.context_tokens < _LARGE_CONTEXT
    for count, what, usual in ((images, "images", MOST_IMAGES), (pages, "PDF pages", MOST_PAGES)):
        most = MOST_IN_SMALL_CONTEXT if is_small else usual
        if count > most:
            raise BadPromptError(
                f"there are {count:,} {what}", f"{model} takes at most {most:,} in a request"
            )


_LONGEST_NAME = 300


def _name(source: dict[str, Any]) -> str:
    """Return the path of a file as a user would type it: from here, where it is below."""
    path: str = source["path"]
    here = os.getcwd() + os.sep  # noqa: PTH109  # no Path is needed
    name = path.removeprefix(here)
    return f"the file '{name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + '...'}'"
