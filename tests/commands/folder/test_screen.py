"""One screen shows the shards of a process one after another, with the whole of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from claude_batch.commands.folder.screen import FolderScreen
from claude_batch.core.model.snapshot import Phase, Snapshot
from claude_batch.ui.screen.screen import RunSummary
from tests.commands.folder.test_progress import finish, reader
from tests.ui import pictures


@dataclass
class Recorded:
    """A screen that remembers what it was given."""

    snapshots: list[Snapshot] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    closed: list[tuple[Snapshot | None, RunSummary | None]] = field(default_factory=list)

    def checking(self, *_args: object) -> None:
        pass

    def checked(self) -> None:
        pass

    def notice(self, message: str, hint: str = "") -> None:
        self.notices.append(message + hint)

    def problem(self, text: str) -> None:
        self.notices.append(text)

    def publish(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def close(self, snapshot: Snapshot | None, summary: RunSummary | None) -> None:
        self.closed.append((snapshot, summary))


@pytest.fixture
def screen() -> Recorded:
    return Recorded()


@pytest.fixture
def whole(tmp_path: Path, screen: Recorded) -> Iterator[FolderScreen]:
    """Yield the screen of a folder of three shards, the first of which is finished."""
    finish(tmp_path, 1)
    shown = FolderScreen(screen=screen, reader=reader(tmp_path, 3), max_cost_usd=9.0)
    shown.open()
    yield shown
    shown.close(None)


DONE = RunSummary(message="finished", resume_command=None, exit_code=0)


def test_a_shard_is_shown_with_the_whole(whole: FolderScreen, screen: Recorded) -> None:
    whole.of(whole.reader.manifest.shards[1]).publish(pictures.CALM)
    folder = screen.snapshots[0].folder
    assert folder is not None
    assert (folder.shard, folder.shards, folder.finished, folder.running) == (2, 3, 1, 1)
    assert (folder.done, folder.total) == (2 + 1_200, 2 + 10_000 + 50_000)


def test_while_a_shard_is_paused_no_time_left_is_shown(
    whole: FolderScreen, screen: Recorded
) -> None:
    shard = whole.of(whole.reader.manifest.shards[1])
    for snapshot in (pictures.CALM, pictures.PAUSED):
        shard.publish(snapshot)
    eta_s = [each.folder.eta_s for each in screen.snapshots if each.folder is not None]
    assert (eta_s[0] is None, eta_s[1]) == (False, None)


def test_the_end_of_a_shard_is_not_the_end_of_the_screen(
    whole: FolderScreen, screen: Recorded
) -> None:
    shard = whole.of(whole.reader.manifest.shards[1])
    shard.close(pictures.FINISHED, DONE)
    shard.close(None, None)
    assert (screen.closed, whole.ending, whole.number) == ([], DONE, 2)


def test_the_last_figures_are_those_of_all_shards(
    whole: FolderScreen, screen: Recorded, tmp_path: Path
) -> None:
    failed = replace(pictures.FINISHED, failures=pictures.FAILURES)
    for number in (2, 3):
        shard = whole.of(whole.reader.manifest.shards[number - 1])
        shard.publish(pictures.CALM)
        finish(tmp_path, number)
        shard.close(failed, DONE)
    whole.close(DONE)
    ((last, summary),) = screen.closed
    assert last is not None
    assert (last.total, last.succeeded, last.resumed, last.phase) == (6, 6, 2, Phase.FINISHED)
    assert last.attempts == 2 * failed.attempts
    assert {each.custom_id for each in last.failures} == {"line-17"}
    assert summary is DONE
