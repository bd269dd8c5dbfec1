"""`adjust` of a run folder says which processes have obeyed, and which will later."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from claude_batch.commands.folder.adjust import adjust_folder
from claude_batch.commands.folder.manifest import FolderPlace
from claude_batch.errors import UsageError
from claude_batch.storage.folder.adjusted import options_of, read_changes_of
from claude_batch.storage.folder.claims import take_claim
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.storage.folder.manifest import create_manifest
from claude_batch.storage.folder.object_files import ObjectFiles
from tests.commands.folder.test_progress import claimed, finish
from tests.storage.folder.test_manifest import a_manifest
from tests.support.memory_objects import MemoryObjects


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a run folder on whose first shard a process of another host works."""
    files = LocalFiles(tmp_path)
    create_manifest(files, a_manifest())
    record = {"host": "far", "machine": "another", "process": 7, "at": 1.0, "max_cost_usd": None}
    files.create("claims/0001-1", orjson.dumps(record))
    return tmp_path


def test_a_process_elsewhere_keeps_to_it_later(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adjust_folder(str(folder), {"rpm": "60"}, pause=None, shard=None)
    assert "shard 1: process 7 on far cannot be asked from here" in capsys.readouterr().out
    assert options_of(a_manifest(), LocalFiles(folder)).run.adjusted == {"rpm": 60.0}


def test_a_bound_that_is_spent_already_is_said_with_the_figures_of_all(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(folder, 2)
    for bound, said in (("1e-9", " USD spent: no more is sent"), ("5", "keep to it")):
        adjust_folder(str(folder), {"max_cost": bound}, pause=None, shard=None)
        assert said in capsys.readouterr().out.splitlines()[-1]


@pytest.mark.parametrize("bound", ["0.02", "none"])
def test_the_bound_on_the_cost_is_not_that_of_one_shard(folder: Path, bound: str) -> None:
    with pytest.raises(UsageError, match="the bound of all shards") as refused:
        adjust_folder(str(folder), {"max_cost": bound}, pause=None, shard=1)
    assert refused.value.hint == f"claude-batch adjust {folder}/ --max-cost {bound}"
    assert read_changes_of(LocalFiles(folder)) == []


@pytest.mark.parametrize("shard", [None, 1])
def test_a_process_elsewhere_is_not_paused_from_here(folder: Path, shard: int | None) -> None:
    with pytest.raises(UsageError, match="cannot be asked from here"):
        adjust_folder(str(folder), {}, pause=True, shard=shard)
    assert read_changes_of(LocalFiles(folder)) == []


def test_a_process_that_still_checks_its_shard_is_to_be_asked_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_batch.commands.folder.adjust.WAIT_S", 0.0)
    claim = claimed(folder, 2)
    with pytest.raises(UsageError, match="1 of 2 shards at work not changed"):
        adjust_folder(str(folder), {"rpm": "60"}, pause=None, shard=None)
    claim.close()


def test_without_anybody_at_work_nothing_is_changed(folder: Path) -> None:
    (folder / "claims/0001-1").unlink()
    with pytest.raises(UsageError, match="no process works on it now") as refused:
        adjust_folder(str(folder), {"rpm": "60"}, pause=None, shard=None)
    assert refused.value.hint.endswith("/ --rpm 60")
    assert read_changes_of(LocalFiles(folder)) == []


def test_a_process_of_another_user_keeps_to_it_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("claude_batch.commands.folder.adjust.WAIT_S", 0.0)
    objects = MemoryObjects(now_s=time.time() - datetime(2020, 1, 1, tzinfo=UTC).timestamp())
    theirs = ObjectFiles(objects.store, "run/", tmp_path / "theirs")
    ours = ObjectFiles(objects.store, "run/", tmp_path / "ours")
    create_manifest(theirs, a_manifest())
    claim = take_claim(theirs, 1, 1, None)
    assert claim is not None
    place = FolderPlace(path=ours.path, files=ours, manifest=a_manifest())
    monkeypatch.setattr("claude_batch.commands.folder.adjust.existing_folder", lambda _: place)
    adjust_folder("s3://bucket/run/", {"rpm": "60"}, pause=None, shard=None)
    claim.close()
    assert "cannot be asked from here; its next shard keeps to it" in capsys.readouterr().out
    assert options_of(a_manifest(), ours).run.adjusted == {"rpm": 60.0}
