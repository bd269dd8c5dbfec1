"""What a command says of a run folder is in force for all of it from then on, as in one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claude_batch.commands.folder.manifest import RunFolder, existing_folder, open_folder
from claude_batch.commands.folder.progress import bound_of
from claude_batch.commands.folder.run import FolderWork
from claude_batch.config.declaration import Owner
from claude_batch.config.options import OPTIONS, owned_by
from claude_batch.storage.folder.adjusted import FolderChange, note_change, read_changes_of
from claude_batch.storage.folder.files import LocalFiles
from claude_batch.ui.screen.opening import open_screen

SCREEN = open_screen("none", quiet=True)

VALUES: dict[str, Any] = {
    **dict.fromkeys(("rpm", "itpm", "otpm", "concurrency", "max_cost", "batch_size"), "7"),
    **dict.fromkeys(("expand", "raw", "cache"), True),
    **dict.fromkeys(("deadline", "list_lag", "first_poll", "cache_ttl", "patience"), "90s"),
    "answer_column": "said",
    "mode": "batch",
    "canary": False,
    "tier": "build",
    "share": "0.5",
    "shared_limits": "redis://127.0.0.1:9/0",
    "confirm_above": "3",
    "prices": Path("prices.toml"),
    "cache_url": "redis://127.0.0.1:9/0",
    "cache_prefix": "auto",
    "max_attempts": "3",
    "scenario": Path("calm.toml"),
    "config": Path("other.toml"),
}
"""Something else than the default, for every option of a run."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run folder in the sandbox that was made with --max-cost 1."""
    monkeypatch.chdir(tmp_path)
    Path("a.jsonl").write_text('"a?"\n')
    Path("other.toml").write_text("")
    made = open_folder(["a.jsonl"], {"out": "out/", "max_cost": "1", "sandbox": True}, SCREEN)
    keep(made)
    return tmp_path / "out"


def opened(place: Path, **given: Any) -> RunFolder:
    return open_folder([str(place)], given, SCREEN)


def keep(folder: RunFolder) -> None:
    """Do what is done when the first shard begins."""
    FolderWork(folder=folder, screen=SCREEN, one_after_another=True).keep_options()


def changes(place: Path) -> list[FolderChange]:
    return read_changes_of(LocalFiles(place))


def test_every_option_of_a_run_is_tried() -> None:
    assert VALUES.keys() == {*owned_by(Owner.RUN)}


@pytest.mark.parametrize("name", sorted(VALUES.keys() - {"deadline"}))
def test_an_option_is_in_force_again_until_it_is_unset(place: Path, name: str) -> None:
    first = opened(place, **{name: VALUES[name]})
    asked = getattr(first.settings.options, name)
    assert asked != OPTIONS[name].default
    keep(first)
    again = opened(place)
    now = getattr(again.settings.options, name)
    assert (now.absolute() if isinstance(now, Path) else now) == (
        asked.absolute() if isinstance(asked, Path) else asked
    )
    keep(again)
    keep(opened(place, **{name: VALUES[name]}))
    assert len(changes(place)) == 1  # it was in force
    keep(opened(place, **{name: "none"}))
    assert getattr(opened(place).settings.options, name) == OPTIONS[name].default


def test_bad_lines_may_be_left_out_later(place: Path) -> None:
    keep(opened(place, shard="1", skip_invalid=True))
    assert not opened(place).settings.options.skip_invalid  # that was for shard 1
    keep(opened(place, on="ray", skip_invalid=True))
    assert opened(place).settings.options.skip_invalid
    keep(opened(place, skip_invalid=True))
    assert len(changes(place)) == 1
    again = open_folder(["a.jsonl"], {"out": "out/", "sandbox": True}, SCREEN)
    assert again.settings.options.skip_invalid


def test_a_deadline_is_a_moment(place: Path) -> None:
    keep(opened(place, deadline="90s"))
    left = opened(place).settings.options.deadline_s
    assert left is not None
    assert 60 < left <= 90


def test_the_command_that_makes_a_folder_notes_nothing(place: Path) -> None:
    keep(opened(place, max_cost="1"))
    assert changes(place) == []


def test_a_variable_is_in_force_without_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_BATCH_RPM", "60")
    keep(opened(place))
    monkeypatch.delenv("CLAUDE_BATCH_RPM")
    assert opened(place).settings.options.rpm == 60


def test_of_a_command_for_one_shard_the_bound_on_the_cost_is_that_of_all(place: Path) -> None:
    keep(opened(place, shard="1", rpm="60", max_cost="2"))
    found = opened(place).settings.options
    assert (found.rpm, found.max_cost) == (None, 2.0)


def test_of_a_command_for_a_cluster_its_workers_note_the_bound(place: Path) -> None:
    keep(opened(place, on="ray", rpm="60", max_cost="2"))
    found = opened(place).settings.options
    assert (found.rpm, found.max_cost) == (60.0, 1.0)
    keep(opened(place, shard="1", rpm="60", max_cost="2"))
    assert opened(place).settings.options.max_cost == 2.0
    assert len(changes(place)) == 2


def test_the_same_command_does_not_undo_what_was_adjusted_since(place: Path) -> None:
    keep(opened(place, rpm="60"))
    note_change(LocalFiles(place), FolderChange(at=1.0, changes={"rpm": 9.0}))
    repeated = opened(place, rpm="60")
    keep(repeated)
    assert repeated.settings.options.rpm == 9.0
    keep(opened(place, rpm="61"))
    assert opened(place).settings.options.rpm == 61.0


def test_what_resume_is_given_counts_whatever_was_adjusted(place: Path) -> None:
    for given in ({"max_cost": "1"}, {"max_cost": "1", "on": "ray"}):
        note_change(LocalFiles(place), FolderChange(at=1.0, changes={"max_cost": 5.0}))
        keep(open_folder([str(place)], given, SCREEN, resumes=True))
        assert opened(place, shard="1", max_cost="1").settings.options.max_cost == 1.0
        assert opened(place).settings.options.max_cost == 1.0


def test_what_earlier_commands_were_given_is_said_once(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep(opened(place, rpm="60"))
    screen = open_screen("plain", quiet=False)
    work = FolderWork(folder=opened(place), screen=screen, one_after_another=True)
    work.tell_resumed()
    work.tell_resumed()
    assert capsys.readouterr().err.count("Using --max-cost 1, --rpm 60 from this run folder") == 1


def test_a_process_that_goes_on_takes_what_another_was_given(place: Path) -> None:
    work = FolderWork(folder=opened(place, rpm="60"), screen=SCREEN, one_after_another=False)
    work.keep_options()
    assert work.bound_now() == 1.0
    keep(opened(place, max_cost="3", cache=True))
    work.clock = lambda: float("inf")
    assert work.bound_now() == 3.0


def test_who_looks_at_a_folder_needs_neither_its_settings_file_nor_a_password(place: Path) -> None:
    lease, other = "redis://:secret@127.0.0.1:9/0", Path("other.toml")
    keep(opened(place, config=other, shared_limits=lease, max_cost="2"))
    other.unlink()
    folder = existing_folder(str(place))
    assert bound_of(folder.manifest, folder.files) == 2.0
