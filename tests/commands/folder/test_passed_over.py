"""Shards that another process had are looked at again at the end: it may be dead."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from claude_batch.commands.folder.manifest import open_folder
from claude_batch.commands.folder.run import FolderWork
from claude_batch.core.shards.claims import LOOK_EVERY_S
from claude_batch.errors import FolderGoneError
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.ui.screen.opening import open_screen
from tests.storage.folder.test_shards import a_done
from tests.support.killing import QUICK

ANSWERED = 4


class Time:
    """Virtual time: the claims of another host on shards age with it."""

    def __init__(self, folder: Path) -> None:
        self.now_s = 0.0
        self.folder = folder
        self.lives: Callable[[], bool] = lambda: False
        self.touched_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        if self.lives() and self.now_s - self.touched_s >= LOOK_EVERY_S:
            self.touched_s = self.now_s
            os.utime(self.claim)
            return
        found = self.claim.stat()
        os.utime(self.claim, (found.st_atime - seconds, found.st_mtime - seconds))

    @property
    def claim(self) -> Path:
        return self.folder / "claims/0001-1"


@pytest.fixture
def time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Time:
    """Return the time of a run folder on whose first of two shards another host works."""
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('"a?"\n' * ANSWERED)
    Path("quick.toml").write_text(QUICK.replace("base_s = 0.2", "base_s = 0.01"))
    given = {"out": "out/", "scenario": Path("quick.toml"), "shard_size": "2"}
    open_folder(["a.jsonl"], given, open_screen("none", quiet=True))
    return Time(tmp_path / "out")


def claim(time: Time, *, max_cost: float | None = None) -> None:
    record = {"host": "far", "machine": "another", "process": 7, "max_cost_usd": max_cost}
    LocalFiles(time.folder).create("claims/0001-1", orjson.dumps(record))


def work(time: Time, **given: Any) -> int:
    screen = open_screen("plain", quiet=False)
    folder = open_folder([str(time.folder)], given, screen)
    clock, sleep = (lambda: time.now_s), time.sleep
    return FolderWork(
        folder=folder, screen=screen, one_after_another=True, clock=clock, sleep=sleep
    ).all()


def test_a_shard_of_a_dead_process_is_done_once_it_was_silent_for_long_enough(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    claim(time)
    assert work(time) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("to see whether process 7 on far still works on it") == 1
    assert f"{ANSWERED} of {ANSWERED} results" in said
    assert 28 < time.now_s < 32


def test_a_shard_of_a_process_that_lives_is_left_to_it(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    claim(time)
    time.lives = lambda: True
    assert work(time) == 6
    said = " ".join(capsys.readouterr().err.split())
    assert "still being worked on: shard 1 by process 7 on far; " in said
    assert "1 of 2 shards finished" in said
    assert "claude-batch status out/ --watch" in said
    assert time.now_s <= LOOK_EVERY_S + 1


def test_who_ends_last_ends_as_the_whole_deserves(
    time: Time, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish() -> bool:
        done = replace(a_done(1), shard=1, total=2, succeeded=2)
        ShardFolder(time.folder, 1).finish(LocalFiles(time.folder), done)
        return True

    claim(time)
    time.lives = finish  # as its holder is looked at for the last time
    assert work(time) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "2 of 2 shards finished" in said
    assert "claude-batch results out/" in said


def test_a_run_folder_that_is_gone_is_not_made_again(time: Time) -> None:
    screen = open_screen("none", quiet=True)
    folder = open_folder([str(time.folder)], {}, screen)
    time.folder.rename(time.folder.with_name("moved"))
    with pytest.raises(FolderGoneError):
        FolderWork(folder=folder, screen=screen, one_after_another=True).all()
    assert not time.folder.exists()


def test_what_a_dead_process_might_have_spent_is_spent_once_that_is_known(time: Time) -> None:
    claim(time, max_cost=0.01)
    assert work(time, max_cost="0.01") == 0
    assert len(list(time.folder.glob("shards/*/done.json"))) == 2
