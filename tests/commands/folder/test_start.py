"""What is refused, left out and said as a run folder is made, or taken up by another command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from claude_batch.commands.folder.manifest import RunFolder, open_folder
from claude_batch.commands.folder.run import FolderWork
from claude_batch.commands.run.run import run
from claude_batch.core.model.answers import AnswerColumns
from claude_batch.errors import ClaudeBatchError
from claude_batch.ui.screen.opening import open_screen

BAD = {
    "shared_limits": "redis:/localhost",
    "cache_url": "foo://x",
    "scenario": Path("missing.toml"),
    "prices": Path("missing.toml"),
}
"""Options that no run can have."""


@pytest.fixture(autouse=True)
def _rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work beside a folder of two files with rows in them."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for name in "ab":
        Path(f"in/{name}.csv").write_text(f"prompt\n{name}?\n{name}!\n")


def opened(*inputs: str, **given: Any) -> RunFolder:
    given = {"sandbox": True, **given}
    return open_folder(inputs, given, open_screen("plain", quiet=False))


@pytest.mark.parametrize("name", BAD)
def test_an_option_that_is_refused_leaves_no_folder_behind(name: str) -> None:
    sandbox = name != "shared_limits"  # where there is nobody to share with
    with pytest.raises(ClaudeBatchError, match=r"must begin|unknown scheme|No such file"):
        opened("in", out="k/", sandbox=sandbox, **{name: BAD[name]})
    assert not Path("k").exists()


def test_an_option_that_is_refused_later_is_not_kept() -> None:
    opened("in", out="k/")
    folder = opened("k", cache_url=BAD["cache_url"])
    work = FolderWork(folder=folder, screen=open_screen("none", quiet=True), one_after_another=True)
    with pytest.raises(ClaudeBatchError, match="unknown scheme"):
        work.all()
    assert opened("k").settings.options.cache_url is None


def test_a_cache_that_is_refused_leaves_no_run_behind() -> None:
    given = {"out": "r.jsonl", "sandbox": True, "cache_url": BAD["cache_url"], "quiet": True}
    with pytest.raises(ClaudeBatchError, match="unknown scheme"):
        run("in/a.csv", given)
    assert not [*Path().glob("r.jsonl.journal")]


def test_files_that_are_added_later_are_no_part_of_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened("in", out="k/")
    columns = ",".join(AnswerColumns().names)
    for name, content in (
        ("empty.csv", ""),
        ("answers.csv", f"prompt,{columns}\na?,yes,succeeded,,,1,1,0\n"),
    ):
        Path(f"in/{name}").write_text(content)
    opened("in", out="k/")
    assert "added" not in capsys.readouterr().err
    Path("in/c.csv").write_text("prompt\nc?\n")
    opened("in", out="k/")
    assert "1 file was added to the inputs since: in/c.csv; not part" in capsys.readouterr().err


def test_a_run_folder_is_not_run_in_another_folder() -> None:
    opened("in", out="k/")
    for given, way in (
        (("k/", "k2/"), "claude-batch resume k/\nfor another run, name the files"),
        (("k", "t.csv"), "claude-batch results k/ -o t.csv"),
    ):
        with pytest.raises(ClaudeBatchError, match="is a run folder") as refused:
            opened(given[0], out=given[1])
        assert way in refused.value.hint
    with pytest.raises(ClaudeBatchError, match="is a run folder"):
        opened("in/a.csv", "k/", out="k2/")
    assert opened("k/", out="k").path == Path("k").absolute()
