"""ARCHITECTURE.md: the six stops of a prompt are real, and in this order."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest
import typer

from claude_batch.cli.run import run

ROOT = Path(__file__).parents[1]
MAP = (ROOT / "ARCHITECTURE.md").read_text()
PACKAGE = str(ROOT / "claude_batch")
DOORS = {"run", "read_requests", "add", "send", "commit"}
"""What a prompt enters each of the six files by."""

STOP = re.compile(r"^\d\. `(claude_batch/[\w/]+\.py)`", re.MULTILINE)


def stops() -> list[str]:
    return STOP.findall(MAP)


def test_the_map_names_six_files_that_exist() -> None:
    assert len(stops()) == 6
    assert all((ROOT / stop).is_file() for stop in stops())


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w*]+/[\w./*]*)`", MAP))))
def test_what_the_map_names_is_there(name: str) -> None:
    pattern = name.replace("NAME", "*")
    assert [*ROOT.glob(pattern), *(ROOT / "claude_batch").glob(pattern)]


def test_a_prompt_passes_the_six_stops_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.jsonl").write_text('"hi"\n')
    seen: dict[str, None] = {}

    def watch(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name in DOORS and code.co_filename.startswith(PACKAGE):
            seen.setdefault(str(Path(code.co_filename).relative_to(ROOT)))

    sys.setprofile(watch)
    threading.setprofile(watch)
    try:
        with pytest.raises(typer.Exit) as left:
            run(["p.jsonl"], {"sandbox": True, "stdout": False, "quiet": True})
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert left.value.exit_code == 0
    assert [stop for stop in seen if stop in stops()] == stops()
