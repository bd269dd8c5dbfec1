"""A holder finds out by itself that it was superseded, or that storage is gone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from claude_batch.core.shards.claims import SILENT_S
from claude_batch.errors import CheckpointLockedError
from claude_batch.storage.folder import claims as module
from claude_batch.storage.folder.claims import CLAIMS, HeldClaim, claims_on, take_claim
from claude_batch.storage.folder.files import LocalFiles


class Unanswering(LocalFiles):
    """A folder that cannot be read any more."""

    def ages(self, folder: str, begin: str = "") -> dict[str, float]:
        raise OSError(5, folder + begin)


def taken(files: LocalFiles, epoch: int = 1) -> HeldClaim:
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
    assert lost.wait(20)
    assert [first.is_lost, second.is_lost] == [True, False]
    with pytest.raises(CheckpointLockedError, match="taken over"):
        first.refuse_lost()
    first.close()
    second.close()


def test_storage_that_does_not_answer_is_waited_for_as_long_as_others_wait(tmp_path: Path) -> None:
    claim = taken(LocalFiles(tmp_path))
    claim.files = Unanswering(tmp_path)
    now = time.monotonic()
    assert [claim.look(now + SILENT_S - 1), claim.look(now + SILENT_S + 1)] == [True, False]
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
