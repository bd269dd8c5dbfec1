"""What is changed of one shard is in force for those that the process works on after it."""

from __future__ import annotations

from typing import Any

from claude_batch.commands.folder.steering import Steering
from claude_batch.config.options import Options
from claude_batch.config.settings import RunSettings
from claude_batch.storage.folder.adjusted import FolderChange


def steering(**changes: Any) -> Steering:
    found = Steering(part_of=lambda bound: bound / 2, on_change=lambda: None)
    found.keep(changes, at=10.0, paused_at=None)
    return found


def test_options_are_as_they_were_changed() -> None:
    options = steering(rpm=60, concurrency=None).adjusted(
        Options(rpm=9.0, concurrency=3, share=0.5)
    )
    assert (options.rpm, options.concurrency, options.share) == (60.0, Options().concurrency, 0.5)


def test_a_newer_change_of_the_folder_goes_before_an_older_one_of_the_process() -> None:
    changed = steering(rpm=60, share=0.5)
    changed.take(FolderChange(at=5.0, changes={"rpm": 1.0}))
    changed.take(FolderChange(at=20.0, changes={"share": 0.1, "otpm": 100}))
    assert changed.changes == {"rpm": 60, "share": 0.1, "otpm": 100}


def test_who_shows_it_hears_of_a_change() -> None:
    heard: list[str] = []
    changed = Steering(part_of=lambda bound: bound, on_change=lambda: heard.append("changed"))
    changed.keep({}, at=1.0, paused_at=1.0)
    assert (heard, changed.paused_at) == (["changed"], 1.0)


def test_of_what_another_command_was_given_a_process_takes_what_can_change_as_it_goes() -> None:
    changed = steering()
    flags = {"rpm": 9.0, "config": "/x.toml", "mode": "batch"}
    changed.take(FolderChange(at=20.0, given=RunSettings(flags=flags)))
    assert changed.changes == {"rpm": 9.0}
