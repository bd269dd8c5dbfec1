"""Results that may only be read, on the share of somebody else, say."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import claude_batch

RUN = ("--prompt", "Classify: {{text}}", "--sandbox", "--yes", "--quiet", "--no-stdout")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.fixture
def protect(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what makes one folder read-only, with an error; permissions do not stop root."""

    def start(number: int) -> None:
        opened = os.open

        def refuse(path: str | Path, flags: int, mode: int = 0o777) -> int:
            if flags & _WRITING and (home / path).is_relative_to(home / "theirs"):
                raise OSError(number, os.strerror(number), str(path))
            return opened(path, flags, mode)

        monkeypatch.setattr(os, "open", refuse)

    (home / "theirs").mkdir()
    (home / "t.csv").write_text("id,text\n1,Hello\n2,Bye\n3,Hm\n")
    return start


@pytest.mark.parametrize(
    ("out", "options"), [("theirs/run/", ("--shard-size", "2")), ("theirs/run.jsonl", ())]
)
def test_a_table_of_results_that_may_only_be_read_is_written_elsewhere(
    home: Path, protect: Callable[[int], None], out: str, options: tuple[str, ...]
) -> None:
    assert claude_batch("run", "t.csv", "--out", out, *options, *RUN).exit_code == 0
    protect(errno.EROFS)
    done = claude_batch("results", out, "-o", "mine.csv")
    assert (done.exit_code, "read-only" in done.err) == (0, True)
    rows = (home / "mine.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["id", "1", "2", "3"]


def test_a_table_is_not_written_where_it_cannot_be_noted_for_another_reason(
    home: Path, protect: Callable[[int], None]
) -> None:
    assert claude_batch("run", "t.csv", "--out", "theirs/run/", *RUN).exit_code == 0
    protect(errno.ENOSPC)
    assert claude_batch("results", "theirs/run/", "-o", "mine.csv").exit_code == 5
    assert not (home / "mine.csv").exists()
