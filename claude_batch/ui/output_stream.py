"""Where a screen is drawn: stderr or stdout, through its descriptor, for the drawing thread."""

from __future__ import annotations

import io
import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TextIO

PIPE_WIDTH = 100
"""Columns of what is drawn where there is no terminal to ask."""


class OutputStream(Protocol):
    """Something to write on."""

    def write(self, text: str) -> None:
        """Write all of `text`, however long that takes. Raises OSError when the reader is gone."""

    def size(self) -> tuple[int, int] | None:
        """Return columns and rows; None where this is no terminal."""

    @property
    def encoding(self) -> str:
        """The encoding of what is written."""


@dataclass(frozen=True, slots=True)
class DescriptorStream:
    """A descriptor, written without a buffer or a lock of Python's in between.

    A thread stuck on a stopped terminal would hold the lock of `sys.stderr`, and the process
    could then neither report an error nor end.
    """

    descriptor: int
    encoding: str

    def write(self, text: str) -> None:
        """Write all of `text`, also where another program has made stderr non-blocking.

        What the encoding lacks is written as an escape.
        """
        left = memoryview(text.encode(self.encoding, "backslashreplace"))
        while left:
            try:
                left = left[os.write(self.descriptor, left) :]
            except BlockingIOError:
                select.select([], [self.descriptor], [])

    def size(self) -> tuple[int, int] | None:
        """Return columns and rows of the terminal."""
        try:
            size = os.get_terminal_size(self.descriptor)
        except OSError:
            return None
        return size.columns, size.lines


@dataclass(frozen=True, slots=True)
class FileStream:
    """A stream without a descriptor, such as a calling program puts in the place of stderr."""

    put: Callable[[str], object]
    encoding: str

    def write(self, text: str) -> None:
        """Hand `text` to the stream."""
        self.put(text)

    def size(self) -> None:
        """Return None: this is no terminal."""
        return


def output_stream(file: TextIO | None) -> OutputStream | None:
    """Return stderr or stdout, as `file` is; None when the process has none."""
    if file is None:
        return None
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        return DescriptorStream(file.fileno(), encoding)
    except (AttributeError, io.UnsupportedOperation):
        return FileStream(file.write, encoding)
