"""The two files by which a run and other commands of its user speak to each other."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from claude_batch.storage.run.control import (
    Answer,
    LiveState,
    NotOursError,
    Request,
    ask,
    live_path,
    publish,
    read_live,
    request_path,
    take_request,
    withdraw,
    withdraw_live,
)
from tests.ui import pictures

STATE = LiveState(
    run_id="r",
    token="t",
    process=7,
    host="h",
    at=3.0,
    snapshot=pictures.BUSY,
    answers=(Answer(id="1", refusal="no", hint="yes"), Answer(id="2")),
)
ASKED = Request(id="1", run_id="r", token="t", changes={"rpm": 200.0, "share": None}, pause=True)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "x.results.jsonl"


def taken(results: Path, *, process: str = "t") -> Request | None:
    return take_request(results, run_id="r", token=process)


def test_what_a_run_says_is_read_by_its_user_alone(results: Path) -> None:
    publish(results, STATE)
    assert read_live(results) == STATE
    assert stat.S_IMODE(live_path(results).stat().st_mode) == 0o600


def test_a_request_is_taken_once(results: Path) -> None:
    ask(results, ASKED)
    assert taken(results) == ASKED
    assert taken(results) is None


def test_a_request_to_an_earlier_process_is_removed_and_changes_nothing(results: Path) -> None:
    ask(results, ASKED)
    assert taken(results, process="another") is None
    assert not request_path(results).exists()


def test_only_a_request_that_is_still_there_can_be_withdrawn(results: Path) -> None:
    ask(results, ASKED)
    assert withdraw(results, ASKED)
    assert not withdraw(results, ASKED)
    ask(results, replace(ASKED, id="2"))
    assert not withdraw(results, ASKED)


def test_a_request_never_replaces_another_that_is_not_taken_yet(results: Path) -> None:
    assert ask(results, ASKED)
    assert not ask(results, replace(ASKED, id="2"))
    assert taken(results) == ASKED
    assert ask(results, replace(ASKED, id="2"))
    assert [path.name for path in results.parent.iterdir()] == [request_path(results).name]


def test_a_request_reaches_a_folder_without_links(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: Path) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    assert ask(results, ASKED)
    assert taken(results) == ASKED


def test_a_file_that_others_may_write_to_is_refused(results: Path) -> None:
    ask(results, ASKED)
    request_path(results).chmod(0o622)
    with pytest.raises(NotOursError):
        taken(results)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_of_another_user_is_refused(results: Path) -> None:
    publish(results, STATE)
    os.chown(live_path(results), 12_345, -1)
    with pytest.raises(NotOursError):
        read_live(results)


def test_links_and_pipes_are_refused(results: Path) -> None:
    ask(results, ASKED)
    request_path(results).rename(results.with_name("elsewhere"))
    request_path(results).symlink_to(results.with_name("elsewhere"))
    with pytest.raises(NotOursError):
        taken(results)
    request_path(results).unlink()
    os.mkfifo(request_path(results))
    with pytest.raises(NotOursError):
        taken(results)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{",
        b'{"run_id":1}',
        b'{"id":"1","new":2}',
        b'{"id":"1","run_id":"r","token":"t","changes":[]}',
        b'{"id":"1","run_id":"r","token":"t","pause":"yes"}',
    ],
)
def test_what_cannot_be_read_is_nothing(results: Path, raw: bytes) -> None:
    for path in (live_path(results), request_path(results)):
        path.write_bytes(raw)
        path.chmod(0o600)
    assert read_live(results) is None
    assert taken(results) is None


def test_nothing_is_left_of_a_run_that_has_ended(results: Path) -> None:
    publish(results, STATE)
    ask(results, ASKED)
    withdraw_live(results)
    assert not list(results.parent.iterdir())
