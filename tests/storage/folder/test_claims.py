"""A holder finds out by itself that it was superseded, or that storage is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_batch.core.shards.claims import SILENT_S
from claude_batch.errors import CheckpointLockedError, FolderGoneError
from claude_batch.storage.folder import claims as module
from claude_batch.storage.folder.claims import CLAIMS, HeldClaim, Loss, claims_on, take_claim
from claude_batch.storage.folder.files import LocalFiles, LocalHeld
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.run.paths import MANIFEST
from tests.support.program import ENOUGH_S


class Unanswering(LocalFiles):
    """A folder that cannot be read any more."""

    def ages(self, folder: str, begin: str = "") -> dict[str, float]:
        raise OSError(5, folder + begin)


def taken(files: LocalFiles, epoch: int = 1) -> HeldClaim:
    files.create(MANIFEST, b"{}")
    claim = take_claim(files, 3, epoch, None)
    assert claim is not None
    return claim


def test_a_holder_that_was_superseded_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    lost = threading.Event()
    first = taken(LocalFiles(tmp_path))
    first.when_lost = lost.set
    second = taken(LocalFiles(tmp_path), 2)
    assert lost.wait(ENOUGH_S)
    assert [first.is_lost, second.is_lost] == [True, False]
    with pytest.raises(CheckpointLockedError, match="taken over"):
        first.refuse_lost()
    first.close()
    second.close()


def test_storage_that_does_not_answer_is_waited_for_as_long_as_others_wait(tmp_path: Path) -> None:
    before = time.monotonic()
    claim = taken(LocalFiles(tmp_path))
    claim.files = Unanswering(tmp_path)
    after = time.monotonic()
    assert [claim.look(before + SILENT_S - 1), claim.look(after + SILENT_S + 1)] == [True, False]
    claim.close()


class Hanging(LocalFiles):
    """A folder whose calls do not return until they are let go."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hangs = False
        self.end = threading.Event()

    def hold(self, name: str, content: bytes) -> HangingHeld | None:  # type: ignore[override]  # a fake
        held = super().hold(name, content)
        return None if held is None else HangingHeld(self, held)

    def names(self, folder: str) -> list[str]:
        self.call()
        return super().names(folder)

    def call(self) -> None:
        """Return at once, or only when the test is over."""
        if self.hangs:
            self.end.wait()


class HangingHeld:
    """A claim in such a folder."""

    def __init__(self, files: Hanging, held: LocalHeld) -> None:
        self._files, self._held = files, held

    def touch(self) -> None:
        self._files.call()
        self._held.touch()

    def let_go(self) -> None:
        self._files.call()
        self._held.let_go()


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    files = Hanging(tmp_path)
    yield files
    files.end.set()
    while any(each.name.startswith("claim") for each in threading.enumerate()):
        time.sleep(0.01)


def test_a_call_that_never_returns_does_not_keep_a_holder_from_stopping(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 1.0)
    claim, lost = taken(hanging), threading.Event()
    claim.when_lost = lost.set
    hanging.hangs = True
    assert lost.wait(ENOUGH_S)
    with pytest.raises(CheckpointLockedError, match="has not answered"):
        claim.refuse_lost()
    claim.close()  # though the claim cannot be let go of
    hanging.hangs = False
    hanging.end.set()
    assert not claim.look(time.monotonic())  # it stays lost when storage answers again


def test_the_look_before_the_end_does_not_wait_for_ever(
    hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = taken(hanging)
    claim.refuse_lost()  # while storage answers
    monkeypatch.setattr(module, "SILENT_S", 1.0)
    hanging.hangs = True
    with pytest.raises(CheckpointLockedError, match="has not answered"):
        claim.refuse_lost()
    claim.close()


def test_the_look_before_the_end_is_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 60.0)
    first = taken(LocalFiles(tmp_path))
    first.refuse_lost()
    second = taken(LocalFiles(tmp_path), 2)
    with pytest.raises(CheckpointLockedError, match="taken over"):
        first.refuse_lost()
    first.close()
    second.close()


@pytest.mark.parametrize("moves", [False, True])
def test_a_holder_stops_when_the_run_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, moves: bool
) -> None:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.01)
    place, lost = tmp_path / "out", threading.Event()
    claim = taken(LocalFiles(place))
    claim.when_lost = lost.set
    if moves:
        place.rename(tmp_path / "moved")
    else:
        (place / MANIFEST).unlink()
    assert lost.wait(ENOUGH_S)
    with pytest.raises(FolderGoneError, match="was moved or removed"):
        claim.refuse_lost()
    claim.close()


def test_nothing_is_made_where_there_is_no_run_folder_any_more(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "out")
    taken(files).close()
    (tmp_path / "out").rename(tmp_path / "moved")
    with pytest.raises(FolderGoneError):
        take_claim(files, 4, 1, None)
    with pytest.raises(FolderGoneError):
        ShardFolder(tmp_path / "out", 4).begin(1)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], HeldClaim]:
    """Return what gives a claim whose process was stopped for too long, up to an epoch then."""
    monkeypatch.setattr(module, "LOOK_EVERY_S", 60.0)
    monkeypatch.setattr(module, "SILENT_S", 1.0)
    monkeypatch.setattr(module, "_STOPPED_S", 0.3)
    monkeypatch.setattr(module, "_TICK_S", 0.1)

    def stop(epoch: int) -> HeldClaim:
        files = LocalFiles(tmp_path)
        claim = taken(files)
        with claim._changed:  # its threads do not run then
            if epoch > 1:
                files.create(f"{CLAIMS}/0003-{epoch}", b"{}")
            time.sleep(1.3)
        return claim

    return stop


def test_a_process_that_was_stopped_says_so_when_another_has_its_shard(
    stopped: Callable[[int], HeldClaim],
) -> None:
    claim = stopped(2)
    with pytest.raises(CheckpointLockedError, match=r"taken over .* did not run for 1 s"):
        claim.refuse_lost()
    assert claim.lost is Loss.SUPERSEDED
    claim.close()


def test_a_process_that_was_stopped_goes_on_where_nobody_has_its_shard(
    stopped: Callable[[int], HeldClaim],
) -> None:
    claim = stopped(1)
    claim.refuse_lost()
    assert claim.lost is None
    claim.close()


def test_a_claim_that_cannot_be_read_counts_all_the_same(tmp_path: Path) -> None:
    (tmp_path / CLAIMS).mkdir()
    (tmp_path / CLAIMS / "0003-2").write_bytes(b"{")
    (tmp_path / CLAIMS / "0003-x").write_bytes(b"")
    (found,) = claims_on(LocalFiles(tmp_path), 3)
    assert (found.epoch, found.is_held) == (2, True)


def test_a_holder_of_this_host_that_is_gone_is_known_at_once(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    claim = taken(files)
    assert not claims_on(files, 3)[0].is_over
    claim.close()
    (tmp_path / CLAIMS / "0003-1").touch()  # as if it had just shown that it lives
    assert claims_on(files, 3)[0].is_over
