"""What was changed of a run folder is there for every process that works on it later."""

from __future__ import annotations

from pathlib import Path

from claude_batch.storage.folder.adjusted import (
    ADJUSTED,
    FolderChange,
    in_force,
    note_change,
    read_changes_of,
)
from claude_batch.storage.folder.files import LocalFiles


def test_the_last_change_of_an_option_is_in_force(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    for at, changes in ((1.0, {"rpm": 60.0, "share": 0.5}), (2.0, {"rpm": None})):
        note_change(files, FolderChange(at=at, changes=changes))
    found = read_changes_of(files)
    assert [each.at for each in found] == [1.0, 2.0]
    assert in_force(found) == {"rpm": None, "share": 0.5}


def test_two_commands_at_once_note_both_changes(tmp_path: Path) -> None:
    class Late(LocalFiles):
        """A folder whose listing is older than what is there."""

        def names(self, folder: str) -> list[str]:
            return super().names(folder)[:-1]

    note_change(LocalFiles(tmp_path), FolderChange(at=1.0, changes={"rpm": 60.0}))
    note_change(Late(tmp_path), FolderChange(at=2.0, changes={"share": 0.5}))
    assert in_force(read_changes_of(LocalFiles(tmp_path))) == {"rpm": 60.0, "share": 0.5}


def test_what_is_no_change_is_passed_over(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    for number, content in enumerate((b"{", b"[]", b'{"at": "x", "changes": 3}', b"")):
        files.create(f"{ADJUSTED}/{number}.json", content)
    files.create(f"{ADJUSTED}/note.txt", b"")
    assert read_changes_of(files) == []
