"""What was changed of a run folder is there for every process that works on it later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claude_batch.config.settings import RunSettings
from claude_batch.storage.folder.adjusted import (
    ADJUSTED,
    FolderChange,
    FolderOptions,
    note_change,
    options_of,
    read_changes_of,
)
from claude_batch.storage.folder.files import FolderFiles, LocalFiles
from claude_batch.storage.folder.object_files import ObjectFiles
from tests.storage.folder.test_manifest import a_manifest
from tests.support.memory_objects import MemoryObjects

HOUR_S = 3600.0


@pytest.fixture(params=["a file system", "object storage"])
def hosts(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[FolderFiles, FolderFiles]:
    """Return one run folder as two hosts see it."""
    if request.param == "a file system":
        return LocalFiles(tmp_path), LocalFiles(tmp_path)
    store = MemoryObjects().store
    return ObjectFiles(store, "run/", tmp_path / "a"), ObjectFiles(store, "run/", tmp_path / "b")


def given(at: float = 1.0, **flags: Any) -> FolderChange:
    return FolderChange(at=at, given=RunSettings(flags=flags))


def adjusted(at: float = 1.0, **changes: Any) -> FolderChange:
    return FolderChange(at=at, changes=changes)


def bound(*changes: FolderChange) -> Any:
    """Return the --max-cost of a folder that was started with 1."""
    manifest = a_manifest(settings=RunSettings(flags={"max_cost": 1.0}))
    run = FolderOptions.since(manifest, changes).run
    return {**run.flags, **run.adjusted}["max_cost"]


def test_changes_of_one_host_are_in_force_on_another_in_their_order(
    hosts: tuple[FolderFiles, FolderFiles],
) -> None:
    here, there = hosts
    changes = (adjusted(rpm=60.0, share=0.5), given(rpm=9.0, max_cost=2.0), adjusted(rpm=None))
    assert [note_change(here, each) for each in changes] == [1, 2, 3]
    assert read_changes_of(there) == [
        replace(each, number=number) for number, each in enumerate(changes, 1)
    ]
    found = options_of(a_manifest(settings=RunSettings(flags={"rpm": 7.0})), there)
    assert found.run.flags == {"rpm": 9.0, "max_cost": 2.0}
    assert (found.run.adjusted, found.changes) == ({"share": 0.5, "rpm": None}, 3)


def test_the_last_command_counts_whichever_it_was() -> None:
    assert bound() == 1.0
    assert bound(given(max_cost=2.0)) == 2.0
    assert bound(given(max_cost=2.0), adjusted(max_cost=3.0)) == 3.0
    assert bound(adjusted(max_cost=3.0), given(max_cost=2.0)) == 2.0
    assert bound(adjusted(max_cost=3.0), given(max_cost=None)) is None


def test_the_mode_and_the_deadline_are_those_of_the_last_command() -> None:
    begun = a_manifest(mode="batch", deadline="2h", created_at=100.0)
    found = FolderOptions.since(begun, ())
    assert (found.mode, found.deadline_at) == ("batch", 100.0 + 2 * HOUR_S)
    found = found.after(given(at=500.0, mode="live", deadline="1h"))
    assert (found.mode, found.deadline_at) == ("live", 500.0 + HOUR_S)
    assert found.after(given(deadline=None)).deadline_at is None
    assert "mode" not in found.run.flags


def test_another_settings_file_brings_its_endpoints() -> None:
    before = a_manifest(settings=RunSettings(config="/a.toml", endpoints=("a",)))
    other = RunSettings(flags={"config": "/b.toml"}, config="/b.toml", endpoints=("b",))
    changes = [FolderChange(at=1.0, given=other), given(rpm=3.0)]
    run = FolderOptions.since(before, changes).run
    assert (run.config, run.endpoints) == ("/b.toml", ("b",))


def test_two_commands_at_once_note_both_changes(tmp_path: Path) -> None:
    class Late(LocalFiles):
        """A folder whose listing is older than what is there."""

        def names(self, folder: str) -> list[str]:
            return super().names(folder)[:-1]

    note_change(LocalFiles(tmp_path), adjusted(rpm=60.0))
    assert note_change(Late(tmp_path), given(share=0.5)) == 2
    run = options_of(a_manifest(settings=RunSettings()), LocalFiles(tmp_path)).run
    assert (run.flags, run.adjusted) == ({"share": 0.5}, {"rpm": 60.0})


def test_what_is_no_change_is_passed_over(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    bad = b'{"at": 1, "given": {"flags": {"deadline": "x"}, "endpoints": []}}'
    for number, content in enumerate((b"{", b"[]", b'{"at": "x", "changes": 3}', b"", bad)):
        files.create(f"{ADJUSTED}/{number}.json", content)
    files.create(f"{ADJUSTED}/note.txt", b"")
    assert read_changes_of(files) == []
