"""`python -m claude_batch`, and the console script."""

from __future__ import annotations

import io
import os
import sys

from claude_batch.cli.app import app


def main() -> None:
    """Run the command line."""
    _fill_closed_descriptors()
    app(prog_name="claude-batch")


def _fill_closed_descriptors() -> None:
    """Put the null device where stdin or stdout was closed (`>&-`).

    A file of the run would get that descriptor, and results meant for stdout would go into it.
    """
    if sys.stdin is None:
        sys.stdin = _null_device(0, "r")
    if sys.stdout is None:
        sys.stdout = _null_device(1, "w")


def _null_device(descriptor: int, mode: str) -> io.TextIOWrapper:
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)
    return io.TextIOWrapper(io.FileIO(descriptor, mode, closefd=False), encoding="utf-8")


if __name__ == "__main__":
    main()
